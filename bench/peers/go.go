// SPDX-License-Identifier: MIT

// Go: the work that bench/peers/work.h describes, with contexts. A receive is a goroutine in net.Conn.Read. When its
// context ends, a read deadline in the past ends the read, as the documentation of context.AfterFunc shows. That function
// is newer (Go 1.21) than some packaged versions; afterFunc below does the same with a goroutine that waits.
//
// GOMAXPROCS is 1 as the other programs have one thread, unless the environment says otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

const (
	message = 32
	units   = 8192
	skipped = 77
)

var past = time.Unix(1, 0)

func fail(v ...interface{}) {
	fmt.Fprintln(os.Stderr, append([]interface{}{"go:"}, v...)...)
	os.Exit(1)
}

func skip(why string) {
	fmt.Println(why)
	os.Exit(skipped)
}

// afterFunc calls f when ctx is done, unless stop was called before, which tells whether it was.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	stopping, ended := make(chan struct{}), make(chan bool, 1)
	go func() {
		select {
		case <-ctx.Done():
			f()
			ended <- false
		case <-stopping:
			ended <- true
		}
	}()
	return func() bool {
		close(stopping)
		return <-ended
	}
}

// read is a read that ends with ctx.
func read(ctx context.Context, conn net.Conn, buffer []byte) (int, error) {
	stop := afterFunc(ctx, func() { conn.SetReadDeadline(past) })
	size, err := conn.Read(buffer)
	if !stop() {
		conn.SetReadDeadline(time.Time{})
		if err != nil {
			return size, ctx.Err()
		}
	}
	return size, err
}

// A receiver reads once for each context that it gets, and says how that ended.
type receiver struct {
	start chan context.Context
	conn  net.Conn
	far   int
	end   context.CancelFunc
}

func (r *receiver) run(results chan<- error) {
	buffer := make([]byte, 64)
	for ctx := range r.start {
		size, err := read(ctx, r.conn, buffer)
		if err == nil && size != message {
			err = errors.New("a short read")
		}
		results <- err
	}
}

func connOf(fd int) net.Conn {
	file := os.NewFile(uintptr(fd), "socket")
	conn, err := net.FileConn(file)
	if err != nil {
		fail(err)
	}
	file.Close()
	return conn
}

func listen() (address syscall.Sockaddr) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: ""})
	}
	if err == nil {
		err = syscall.Listen(fd, 4096)
	}
	if err == nil {
		address, err = syscall.Getsockname(fd)
	}
	if err != nil {
		fail("listen:", err)
	}
	return address
}

func receivers(count int, idle bool, results chan<- error) []receiver {
	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if limit.Max < 150000 && syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 150000, Max: 150000}) == nil {
		limit.Max = 150000
	}
	limit.Cur = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	if uint64(count)+128 > limit.Cur {
		skip("RLIMIT_NOFILE is too low for a socket each")
	}
	all := make([]receiver, count)
	address := listen()
	for i := range all {
		near := -1
		if idle {
			var err error
			near, err = syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
			if err != nil {
				fail("socket:", err)
			}
			if err = syscall.Connect(near, address); err == syscall.EAGAIN {
				address = listen() // the other backlog is full
				err = syscall.Connect(near, address)
			}
			if err != nil {
				fail("connect:", err)
			}
		} else {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				fail("socketpair:", err)
			}
			near, all[i].far = pair[0], pair[1]
		}
		all[i].conn = connOf(near)
		all[i].start = make(chan context.Context, 1)
		go all[i].run(results)
	}
	return all
}

// expect takes the results of so many receives.
func expect(results <-chan error, cancelled, received int) {
	for i := cancelled + received; i > 0; i-- {
		switch err := <-results; err {
		case nil:
			received--
		case context.Canceled:
			cancelled--
		default:
			fail(err)
		}
	}
	if cancelled != 0 || received != 0 {
		fail("missing:", cancelled, "cancelled and", received, "received")
	}
}

// settle runs the other goroutines until all of them wait.
func settle() {
	for i := 0; i < 8; i++ {
		runtime.Gosched()
	}
	time.Sleep(200 * time.Microsecond)
}

func repeats(count int) int {
	if count < units {
		return units / count
	}
	return 1
}

func idle(all []receiver, results chan error) time.Duration {
	var took time.Duration
	for n := repeats(len(all)); n > 0; n-- {
		ctx, end := context.WithCancel(context.Background())
		for i := range all {
			all[i].start <- ctx
		}
		settle()
		start := time.Now()
		end()
		expect(results, len(all), 0)
		took += time.Since(start)
	}
	return took / time.Duration(repeats(len(all)))
}

func requests(all []receiver, results chan error, leaving bool) (took time.Duration, served int) {
	text := make([]byte, message)
	top, drop := context.WithCancel(context.Background())
	defer drop()
	start := time.Now()
	for n := 0; n < units/len(all); n++ {
		left := 0
		for i := range all {
			var ctx context.Context
			ctx, all[i].end = context.WithCancel(top)
			all[i].start <- ctx
		}
		runtime.Gosched()
		for i := range all {
			if leaving && (n*len(all)+i)%10 == 0 {
				all[i].end()
				left++
			} else if size, err := syscall.Write(all[i].far, text); err != nil || size != message {
				fail("write:", err)
			}
		}
		expect(results, left, len(all)-left)
		for i := range all {
			all[i].end()
		}
		served += len(all) - left
	}
	return time.Since(start), served
}

func tree(count int) time.Duration {
	var took time.Duration
	for n := repeats(count); n > 0; n-- {
		top, end := context.WithCancel(context.Background())
		contexts, ends := make([]context.Context, count), make([]context.CancelFunc, count)
		for i := range contexts {
			contexts[i], ends[i] = context.WithCancel(top)
		}
		start := time.Now()
		end()
		took += time.Since(start)
		for i := range contexts {
			if contexts[i].Err() == nil {
				fail("a child has not ended")
			}
			ends[i]()
		}
	}
	return took / time.Duration(repeats(count))
}

func token(top context.Context, count int) time.Duration {
	start := time.Now()
	for i := 0; i < count; i++ {
		_, end := context.WithCancel(top)
		end()
	}
	return time.Since(start)
}

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	work := os.Args[1]
	count, _ := strconv.Atoi(os.Args[2])
	turns, _ := strconv.Atoi(os.Args[3])
	var all []receiver
	results := make(chan error, count)
	if work != "tree" && work != "token" {
		all = receivers(count, work == "idle", results)
	}
	top, end := context.WithCancel(context.Background())
	defer end()
	for turn := 0; turn <= turns; turn++ {
		var took time.Duration
		units := count
		switch work {
		case "idle":
			took = idle(all, results)
		case "stay", "leave":
			took, units = requests(all, results, work == "leave")
		case "tree":
			took = tree(count)
		case "token":
			took = token(top, count)
		default:
			skip("has none")
		}
		if turn > 0 {
			fmt.Printf("%.3f\n", float64(took.Nanoseconds())/float64(units))
		}
	}
}
