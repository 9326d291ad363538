// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBodyIsReadAgain(t *testing.T) {
	for name, src := range map[string]func(string) io.Reader{
		"at once":      func(s string) io.Reader { return strings.NewReader(s) },
		"byte by byte": func(s string) io.Reader { return iotest.OneByteReader(strings.NewReader(s)) },
	} {
		const body = "what a small body says"
		r := &recorder{src: src(body)}
		for attempt := range 3 {
			b, err := r.body()
			if err != nil {
				t.Fatalf("%s: attempt %d: %v", name, attempt, err)
			}
			if attempt == 0 { // one that ends in the midst of it
				if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if got, err := io.ReadAll(b); string(got) != body || err != nil {
				t.Errorf("%s: attempt %d read %q, %v", name, attempt, got, err)
			}
		}
	}
}

func TestBodyThatIsNotKept(t *testing.T) {
	large := bytes.Repeat([]byte("x"), bufferSize+1)
	r := &recorder{src: bytes.NewReader(large)}
	first, _ := r.body()
	other, _ := r.body()
	if got, err := io.ReadAll(first); !bytes.Equal(got, large) || err != nil {
		t.Fatalf("%d bytes were read, %v", len(got), err)
	}
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, errNotKept) {
		t.Errorf("it was read again: %v", err)
	}
	if _, err := r.body(); !errors.Is(err, errNotKept) || len(r.kept) > 0 {
		t.Errorf("%d bytes are kept: %v", len(r.kept), err)
	}

	r = &recorder{src: strings.NewReader("small")}
	first, _ = r.body()
	r.stop()
	if got, err := io.ReadAll(first); string(got) != "small" || err != nil {
		t.Errorf("%q was read, %v", got, err)
	}
	if r.whole() || len(r.kept) > 0 {
		t.Error("it is kept though nobody will send it again")
	}
}

// TestReaderOfAnAttemptThatIsOver has one wait for more while another one begins anew, and takes what comes.
func TestReaderOfAnAttemptThatIsOver(t *testing.T) {
	src, client := io.Pipe()
	r := &recorder{src: src}
	stale, _ := r.body()
	go func() { _, _ = client.Write([]byte("first ")) }()
	if _, err := io.ReadFull(stale, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		_, _ = stale.Read(make([]byte, 100))
	}()
	next, err := r.body()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(next, got); string(got) != "first " || err != nil { // while the other one waits
		t.Fatalf("read %q, %v", got, err)
	}
	go func() {
		_, _ = client.Write([]byte("second"))
		client.Close()
	}()
	rest, err := io.ReadAll(next)
	if string(rest) != "second" || err != nil {
		t.Errorf("read %q, %v", rest, err)
	}
	<-taken
}

// TestReaderThatTakesNothing has one that is closed while bytes come not take what the next one needs.
func TestReaderThatTakesNothing(t *testing.T) {
	src := strings.NewReader(strings.Repeat("x", bufferSize-1) + "yz")
	r := &recorder{src: iotest.HalfReader(src)}
	over, _ := r.body()
	if _, err := io.ReadFull(over, make([]byte, bufferSize-1)); err != nil {
		t.Fatal(err)
	}
	_ = over.Close()
	if n, err := over.Read(make([]byte, 10)); n > 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("it read %d bytes, %v", n, err)
	}
	next, err := r.body()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(next); len(got) != bufferSize+1 || err != nil {
		t.Errorf("the next one read %d bytes, %v", len(got), err)
	}
}

// TestReaderThatIsClosed has one end that waits for a client who says nothing, and what comes later be the next one's.
func TestReaderThatIsClosed(t *testing.T) {
	src, client := io.Pipe()
	r := &recorder{src: src}
	over, _ := r.body()
	ended := make(chan error)
	go func() {
		_, err := over.Read(make([]byte, 1))
		ended <- err
	}()
	if err := over.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("it ended with %v", err)
	}
	next, err := r.body()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = client.Write([]byte("late"))
		client.Close()
	}()
	if got, err := io.ReadAll(next); string(got) != "late" || err != nil {
		t.Errorf("the next one read %q, %v", got, err)
	}
}
