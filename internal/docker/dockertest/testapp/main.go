// SPDX-License-Identifier: Apache-2.0

// Command testapp is the only program in the images of the engine tests. As
// `sh -c "WORDS…"` it runs the same commands, which is all the shell there is.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if strings.HasSuffix(os.Args[0], "/sh") && len(args) == 2 && args[0] == "-c" {
		args = strings.Fields(args[1])
	}
	if len(args) == 0 {
		args = []string{"serve"}
	}
	os.Exit(run(args[0], args[1:]))
}

func run(cmd string, args []string) int {
	switch cmd {
	case "serve": // until TERM; with names of signals to ignore
		ch := make(chan os.Signal, 8)
		signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
		fmt.Fprintln(os.Stdout, "serving")
		for s := range ch {
			fmt.Fprintln(os.Stdout, "got", s)
			if len(args) > 0 && args[0] == s.String() {
				continue
			}
			return 0
		}
	case "say": // words to stdout
		fmt.Fprintln(os.Stdout, strings.Join(args, " "))
	case "complain": // words to stderr, exit 3
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
		return 3
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return 1
		}
	case "env":
		fmt.Fprintln(os.Stdout, os.Getenv(args[0]), os.Getuid())
	case "dir":
		d, err := os.Getwd()
		if err != nil {
			return 1
		}
		fmt.Fprintln(os.Stdout, d)
	case "lines": // N numbered lines
		n, _ := strconv.Atoi(args[0])
		w := bufio.NewWriter(os.Stdout)
		for i := range n {
			fmt.Fprintf(w, "line %d\x00\x1b[31m!\x1b[0m\n", i+1)
		}
		w.Flush()
	case "touch":
		if err := os.WriteFile(args[0], nil, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "rm":
		os.Remove(args[0])
	case "has": // healthcheck: does the file exist?
		if _, err := os.Stat(args[0]); err != nil {
			fmt.Fprintln(os.Stdout, "missing", args[0])
			return 1
		}
	case "exit": // CODE [DURATION]
		code, _ := strconv.Atoi(args[0])
		if len(args) > 1 {
			d, _ := time.ParseDuration(args[1])
			<-time.After(d)
		}
		fmt.Fprintln(os.Stdout, "exiting with", code)
		return code
	case "hang":
		<-time.After(24 * time.Hour)
	default:
		fmt.Fprintln(os.Stderr, "unknown command", cmd)
		return 64
	}
	return 0
}
