// Package archtest holds tests of the source itself: who may import whom, which
// packages stay free of the Telegram and database libraries, one package comment
// each, file length, and a few habits that a compiler does not check.
//
// It reads every Go file of the module, whatever its build constraints, and
// compiles nothing. Each violation is one line that names the place and the rule.
// The table of imports is in rules_test.go; a new package needs a line there.
package archtest
