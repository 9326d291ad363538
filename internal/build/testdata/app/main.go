// SPDX-License-Identifier: Apache-2.0

// Command app is what the test images contain instead of a shell.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	args := os.Args[1:]
	switch args[0] {
	case "fail": // fail CODE: forty lines, then the exit code
		for i := range 40 {
			fmt.Println("line", i+1)
		}
		fmt.Fprintln(os.Stderr, "\x1b[31mbad thing happened\x1b[0m")
		code, err := strconv.Atoi(args[1])
		check(err)
		os.Exit(code)
	case "print":
		fmt.Println(args[1:])
	case "cat":
		data, err := os.ReadFile(args[1])
		check(err)
		fmt.Printf("content: %s\n", data)
	case "write":
		check(os.WriteFile(args[1], []byte(args[2]), 0o644))
	case "copy":
		data, err := os.ReadFile(args[1])
		check(err)
		check(os.WriteFile(args[2], data, 0o644))
	case "list":
		check(filepath.WalkDir(args[1], func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				fmt.Println("file", path)
			}
			return err
		}))
	case "mode":
		fi, err := os.Stat(args[1])
		check(err)
		fmt.Printf("mode %o\n", fi.Mode().Perm())
	case "env":
		fmt.Println("env", os.Getenv(args[1]))
	case "agent": // asks the SSH agent for its keys
		conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
		check(err)
		_, err = conn.Write([]byte{0, 0, 0, 1, 11})
		check(err)
		answer := make([]byte, 9)
		_, err = io.ReadFull(conn, answer)
		check(err)
		fmt.Println("agent answer", answer[4], "keys", answer[8])
	case "hang": // its argument makes the process findable
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	default:
		fmt.Fprintln(os.Stderr, "unknown command", args[0])
		os.Exit(2)
	}
}
