// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

const (
	// socketsVariable names the sockets that a successor inherits, from descriptor 3 on, with
	// the pipe by which it tells that it serves behind them.
	socketsVariable = "FAIRLEAD_GATEWAY_SOCKETS"
	// programVariable is the digest of the program that was run instead of the container's own.
	programVariable = "FAIRLEAD_GATEWAY_PROGRAM"
	// takeoverTimeout is how long a successor may take until it serves.
	takeoverTimeout = 30 * time.Second
)

// successor is the process that has taken over.
var successor atomic.Int64

// accepted is the content of the file ProgramName.
type accepted struct {
	gatewayapi.Program
	// Instead is the version of the program that it took the place of. A container of another version
	// is one that was made anew, and runs its own.
	Instead string `json:"instead"`
}

// inheritedSocket is how a socket is named to a successor.
type inheritedSocket struct {
	UDP  bool   `json:"udp,omitempty"`
	Addr string `json:"addr,omitempty"`
	Port int    `json:"port"`
}

// Replace has a program in the directory take over. It returns when that one serves.
func (g *Gateway) Replace(program gatewayapi.Program) error {
	path, err := checkProgram(g.dir, program)
	if err != nil {
		return fmt.Errorf("%w: %w", gatewayapi.ErrInvalid, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return gatewayapi.ErrEnding
	}
	if err := g.stayReachable(); err != nil {
		g.log.Error(err, "what is under way goes on as it is, whatever the new program is told")
	}
	if err := g.startSuccessor(path, program.SHA256); err != nil {
		_ = os.Remove(g.previousPath())
		return err
	}
	data, err := json.Marshal(accepted{program, g.original()})
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(g.dir, gatewayapi.ProgramName), data, 0o600)
	}
	if err != nil {
		g.log.Error(err, "the new program serves, and a restart of the container will run the old one")
	}
	g.log.Info("another program has taken over", "program", program.File)
	g.closed = true
	close(g.replaced)
	return nil
}

// original is the version of the container's own program.
func (g *Gateway) original() string {
	if data, err := os.ReadFile(filepath.Join(g.dir, gatewayapi.ProgramName)); err == nil && os.Getenv(programVariable) != "" {
		var now accepted
		if json.Unmarshal(data, &now) == nil {
			return now.Instead
		}
	}
	return g.build
}

// checkProgram gives the path of a program whose content is what it is said to be.
func checkProgram(dir string, program gatewayapi.Program) (string, error) {
	if !filepath.IsLocal(program.File) || strings.ContainsRune(program.File, filepath.Separator) {
		return "", fmt.Errorf("%q is not the name of a file in the gateway's directory", program.File)
	}
	path, err := filepath.Abs(filepath.Join(dir, program.File))
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != program.SHA256 {
		return "", fmt.Errorf("%s has the digest %s, not %s", program.File, got, program.SHA256)
	}
	return path, nil
}

// startSuccessor starts a program with this one's arguments and sockets and waits until it
// serves. g is locked, so that no state is put meanwhile.
func (g *Gateway) startSuccessor(path, digest string) (err error) {
	var names []inheritedSocket
	files := []uintptr{0, 1, 2}
	defer func() {
		for _, fd := range files[3:] {
			unix.Close(int(fd))
		}
	}()
	for key, s := range g.sockets {
		fd, err := s.duplicate()
		if err != nil {
			return fmt.Errorf("handing over %s: %w", key, err)
		}
		files = append(files, fd)
		name := inheritedSocket{UDP: key.udp, Port: key.port}
		if key.addr.IsValid() {
			name.Addr = key.addr.String()
		}
		names = append(names, name)
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer told.Close()
	defer tell.Close()
	fd, err := duplicate(tell)
	if err != nil {
		return err
	}
	files = append(files, fd)
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	env := []string{socketsVariable + "=" + string(list), programVariable + "=" + digest}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, socketsVariable+"=") && !strings.HasPrefix(v, programVariable+"=") {
			env = append(env, v)
		}
	}
	// Not os/exec: it would make the sockets, which both have, blocking ones.
	pid, err := syscall.ForkExec(path, append([]string{path}, os.Args[1:]...), &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	tell.Close()
	unix.Close(int(files[len(files)-1]))
	files = files[:len(files)-1]
	_ = told.SetReadDeadline(time.Now().Add(takeoverTimeout))
	if n, readErr := told.Read(make([]byte, 1)); n != 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, 0, nil)
		return fmt.Errorf("%s did not begin to serve (%v, %v); going on", filepath.Base(path), readErr, describe(status))
	}
	successor.Store(int64(pid))
	return nil
}

func describe(status syscall.WaitStatus) string {
	if status.Exited() {
		return fmt.Sprintf("exit code %d", status.ExitStatus())
	}
	return "ended by " + status.Signal().String()
}

// duplicate gives a descriptor of the socket for another process.
func (s *socket) duplicate() (uintptr, error) {
	if s.udp != nil {
		return duplicate(s.udp)
	}
	return duplicate(s.tcp)
}

func duplicate(c syscall.Conn) (uintptr, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var failed error
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) })
	return uintptr(fd), errors.Join(err, failed)
}

// inherit takes the sockets of the program whose place this one takes, if there is one. What it returns
// tells that one that this one serves.
func (g *Gateway) inherit() (tell func(), err error) {
	list, ok := os.LookupEnv(socketsVariable)
	if !ok {
		return func() {}, nil
	}
	_ = os.Unsetenv(socketsVariable)
	var names []inheritedSocket
	if err := json.Unmarshal([]byte(list), &names); err != nil {
		return nil, fmt.Errorf("%s: %w", socketsVariable, err)
	}
	for i, name := range names {
		key := socketKey{udp: name.UDP, port: name.Port}
		if name.Addr != "" {
			if key.addr, err = netip.ParseAddr(name.Addr); err != nil {
				return nil, fmt.Errorf("%s: %w", socketsVariable, err)
			}
		}
		s := &socket{key: key}
		f := os.NewFile(uintptr(3+i), key.String())
		if name.UDP {
			var conn net.PacketConn
			if conn, err = net.FilePacketConn(f); err == nil {
				s.udp, ok = conn.(*net.UDPConn)
			}
		} else {
			var ln net.Listener
			if ln, err = net.FileListener(f); err == nil {
				s.tcp, ok = ln.(*net.TCPListener)
			}
		}
		f.Close()
		if err != nil || !ok {
			return nil, fmt.Errorf("inheriting %s: %w", key, err)
		}
		g.inherited[key] = s
	}
	pipe := os.NewFile(uintptr(3+len(names)), "predecessor")
	return func() {
		_, _ = pipe.Write([]byte{1})
		pipe.Close()
		g.dropInherited()
	}, nil
}

// dropInherited closes what was inherited and no state wants.
func (g *Gateway) dropInherited() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, s := range g.inherited {
		if s.tcp != nil {
			s.tcp.Close()
		} else {
			s.udp.Close()
		}
		delete(g.inherited, key)
	}
}

// execAccepted runs the program that took the place of this one before, in its place. It returns if
// there is none.
func execAccepted(dir, build string) error {
	path := filepath.Join(dir, gatewayapi.ProgramName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || os.Getenv(programVariable) != "" {
		return nil
	}
	if err != nil {
		return err
	}
	var now accepted
	if err := json.Unmarshal(data, &now); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if now.Instead != build {
		return os.Remove(path) // the container was made anew
	}
	program, err := checkProgram(dir, now.Program)
	if err != nil {
		return err
	}
	return syscall.Exec(program, append([]string{program}, os.Args[1:]...), append(os.Environ(), programVariable+"="+now.SHA256))
}

// putProgram serves PathProgram.
func (g *Gateway) putProgram(w http.ResponseWriter, r *http.Request) {
	var program gatewayapi.Program
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&program); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch err := g.Replace(program); {
	case errors.Is(err, gatewayapi.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, gatewayapi.ErrEnding):
		http.Error(w, err.Error(), http.StatusGone)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// endSuccessors tells the process that has taken over to stop.
func endSuccessors() {
	if pid := int(successor.Load()); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	if os.Getpid() == 1 { // and those that have taken over from it
		_ = syscall.Kill(-1, syscall.SIGTERM)
	}
}

// waitForSuccessors waits until no process is left, as the first one of a container must.
func waitForSuccessors() error {
	var last error
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			return last
		case err != nil:
			return err
		case !status.Exited() || status.ExitStatus() != 0:
			last = fmt.Errorf("the program that took over: %s", describe(status))
		default:
			last = nil
		}
	}
}
