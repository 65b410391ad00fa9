// Package cli is what the command lines of this module share: exit codes and
// the one sentence an error becomes, configuration, output, logging, and
// opening Redis from a URL.
//
// Main runs a tree of cobra commands. When a command's RunE begins, its flags
// hold their final values (flag, else environment, else file, else default), and
// Env.Out and Env.Log are set; so commands read their own typed variables and
// know nothing of configuration. Main prints an error once. Nothing here exits
// the process, so that tests run whole programs.
//
// It opens no database and knows no job; what a program does is its own affair.
package cli
