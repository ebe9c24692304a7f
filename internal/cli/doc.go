// Package cli is the fairlead command: flags and words in, calls to the packages that do the work, tables and JSON
// out.
//
// In: arguments and the standard streams, handed over by cmd/fairlead. Out: text on Out, messages on Err, an exit
// code. Each command is built by one function newXxxCommand(*app) and keeps its flags in locals; the app value holds
// the flags that all commands share. A command runs on one goroutine and is used once.
//
// It never reads the environment itself and never exits; to debug a command, run it with -v.
package cli
