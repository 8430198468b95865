// SPDX-License-Identifier: MIT

// Measures goroutines behind a semaphore by the cases of bench/taskgroup.c: reads lines of "LIMIT COUNT" and
// answers each with the nanoseconds that one task took, from the start of the first to the end of the wait.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What golang.org/x/sync/errgroup does, which is no part of Go's own library.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	places chan struct{}
	tasks  sync.WaitGroup
	once   sync.Once
	err    error
}

func newGroup(parent context.Context, limit int) *group {
	g := &group{places: make(chan struct{}, limit)}
	g.ctx, g.cancel = context.WithCancel(parent)
	return g
}

func (g *group) start(task func(context.Context) error) {
	g.places <- struct{}{}
	g.tasks.Add(1)
	go func() {
		if err := task(g.ctx); err != nil {
			g.once.Do(func() {
				g.err = err
				g.cancel()
			})
		}
		<-g.places
		g.tasks.Done()
	}()
}

func (g *group) wait() error {
	g.tasks.Wait()
	g.cancel()
	return g.err
}

var ran int64

func nothing(ctx context.Context) error {
	atomic.AddInt64(&ran, 1)
	return nil
}

func measure(limit int, count int) time.Duration {
	ran = 0
	start := time.Now()
	g := newGroup(context.Background(), limit)
	for i := 0; i < count; i++ {
		g.start(nothing)
	}
	err := g.wait()
	took := time.Since(start)
	if err != nil || ran != int64(count) {
		fmt.Fprintln(os.Stderr, "tasks are missing:", count-int(ran), err)
		os.Exit(1)
	}
	return took
}

func main() {
	in := bufio.NewReader(os.Stdin)
	for {
		var limit, count int
		if _, err := fmt.Fscan(in, &limit, &count); err != nil {
			return
		}
		fmt.Println(float64(measure(limit, count).Nanoseconds()) / float64(count))
	}
}
