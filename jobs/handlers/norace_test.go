//go:build !race

package handlers_test

const raced = false
