//go:build race

package handlers_test

// raced says that the race detector is on: SQLite, whose code it watches too, is
// very slow then.
const raced = true
