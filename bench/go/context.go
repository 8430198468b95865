// SPDX-License-Identifier: MIT

// Measures Go's context package by the cases of bench/context.c: reads lines of "CASE COUNT" and answers each
// with the nanoseconds that one operation took.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

type key int

var sink error
var valueSink interface{}

func cancel(parent context.Context, count int) {
	for i := 0; i < count; i++ {
		_, end := context.WithCancel(parent)
		end()
	}
}

func timeout(parent context.Context, count int) {
	for i := 0; i < count; i++ {
		_, end := context.WithTimeout(parent, time.Hour)
		end()
	}
}

// Only the cancel of the parent is measured, as on our side.
func tree(parent context.Context, count int) time.Duration {
	top, end := context.WithCancel(parent)
	ends := make([]context.CancelFunc, count)
	for i := range ends {
		_, ends[i] = context.WithCancel(top)
	}
	start := time.Now()
	end()
	took := time.Since(start)
	for i := range ends {
		ends[i]()
	}
	return took
}

func err(parent context.Context, count int) {
	for i := 0; i < count; i++ {
		sink = parent.Err()
	}
}

func value(parent context.Context, depth int, count int) {
	top := context.WithValue(parent, key(0), "found")
	for i := 1; i < depth; i++ {
		top = context.WithValue(top, key(i), "other")
	}
	for i := 0; i < count; i++ {
		valueSink = top.Value(key(0))
	}
}

func threads(parent context.Context, count int) {
	var group sync.WaitGroup
	for i := 0; i < 2; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			cancel(parent, count/2)
		}()
	}
	group.Wait()
}

func measure(parent context.Context, name string, count int) time.Duration {
	start := time.Now()
	switch name {
	case "cancel":
		cancel(parent, count)
	case "timeout":
		timeout(parent, count)
	case "tree":
		return tree(parent, count)
	case "err":
		err(parent, count)
	case "value1":
		value(parent, 1, count)
	case "value10":
		value(parent, 10, count)
	case "threads":
		threads(parent, count)
	default:
		fmt.Fprintln(os.Stderr, "unknown case", name)
		os.Exit(1)
	}
	return time.Since(start)
}

func main() {
	parent, end := context.WithCancel(context.Background())
	defer end()
	in := bufio.NewReader(os.Stdin)
	for {
		var name string
		var count int
		if _, err := fmt.Fscan(in, &name, &count); err != nil {
			return
		}
		fmt.Println(float64(measure(parent, name, count).Nanoseconds()) / float64(count))
	}
}
