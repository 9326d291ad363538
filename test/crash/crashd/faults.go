// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// Points at which the process kills itself.
const (
	// pointBefore: the intent is written, the step is about to run.
	pointBefore = "before"
	// pointLost: the step ended, and nothing of what it recorded is written.
	pointLost = "after-lost"
	// pointAfter: the status with the step's result is written.
	pointAfter = "after"
	// pointHeld: the step ended, and stays there until the process is killed from
	// outside, whatever becomes of its context.
	pointHeld = "held"
)

// Ways to refuse the write of a status.
const (
	refuseConflict = "conflict"
	refuseError    = "error"
)

// summarize is the name of what comes after the last step.
const summarize = "Summarize"

// fault is what is to go wrong next.
type fault struct {
	step, point string
	// refuse says how the next count writes of a request's status fail.
	refuse string
	count  int
}

// parseFault reads "STEP:POINT", where STEP is a step's name, Summarize or
// Release (only after one is recorded), or "refuse:conflict:COUNT" and
// "refuse:error:COUNT".
func parseFault(text string) (fault, error) {
	words := strings.Split(strings.TrimSpace(text), ":")
	if len(words) == 3 && words[0] == "refuse" && (words[1] == refuseConflict || words[1] == refuseError) {
		n, err := strconv.Atoi(words[2])
		return fault{refuse: words[1], count: n}, err
	}
	if len(words) == 2 && (words[1] == pointBefore || words[1] == pointLost || words[1] == pointAfter || words[1] == pointHeld) {
		return fault{step: words[0], point: words[1]}, nil
	}
	return fault{}, fmt.Errorf("there is no fault %q", text)
}

// faults reads from its file, at each point, whether it is the one.
type faults struct {
	file string

	mu      sync.Mutex
	refused int
}

func (f *faults) armed() fault {
	data, err := os.ReadFile(f.file)
	if errors.Is(err, os.ErrNotExist) || len(data) == 0 {
		return fault{}
	}
	if err == nil {
		var armed fault
		if armed, err = parseFault(string(data)); err == nil {
			return armed
		}
	}
	fmt.Fprintln(os.Stderr, "crashd: the fault cannot be read:", err)
	os.Exit(3)
	return fault{}
}

func (f *faults) at(step, point string) bool {
	return f.armed() == fault{step: step, point: point}
}

// crash ends the process as a power failure would, if this is the point.
func (f *faults) crash(step, point string) {
	if !f.at(step, point) {
		return
	}
	f.disarm()
	err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
	fmt.Fprintln(os.Stderr, "crashd: it lives on:", err)
	select {}
}

func (f *faults) disarm() {
	if err := os.Remove(f.file); err != nil {
		fmt.Fprintln(os.Stderr, "crashd: the fault would happen again:", err)
		os.Exit(3)
	}
}

// refusal is the error that the next write of a status is to end with.
func (f *faults) refusal(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	armed := f.armed()
	if armed.refuse == "" {
		return nil
	}
	if f.refused++; f.refused >= armed.count {
		f.refused = 0
		f.disarm()
	}
	if armed.refuse == refuseConflict {
		return apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "updaterequests"}, name,
			errors.New("refused by a fault point"))
	}
	return apierrors.NewInternalError(errors.New("refused by a fault point"))
}

// faultySteps crashes before steps and after them.
type faultySteps struct {
	controllers.StepRunner
	faults *faults
}

// Run runs the step between two fault points.
func (s faultySteps) Run(ctx context.Context, work steps.Work, rec steps.Recorder) error {
	name := string(work.Step)
	if s.faults.at(name, pointBefore) {
		if err := rec.Begun(ctx); err != nil {
			return err
		}
		s.faults.crash(name, pointBefore)
	}
	if s.faults.at(name, pointLost) || s.faults.at(name, pointHeld) {
		rec = nowhere{rec}
	}
	err := s.StepRunner.Run(ctx, work, rec)
	s.faults.crash(name, pointLost)
	if s.faults.at(name, pointHeld) {
		s.faults.disarm()
		select {}
	}
	return err
}

// Summarize ends the log between two fault points.
func (s faultySteps) Summarize(request *v1alpha1.UpdateRequest) error {
	s.faults.crash(summarize, pointBefore)
	err := s.StepRunner.Summarize(request)
	s.faults.crash(summarize, pointLost)
	return err
}

// nowhere takes records of which nothing is ever written but that the step begins.
type nowhere struct{ steps.Recorder }

// Record forgets.
func (nowhere) Record(func(*v1alpha1.UpdateRequestStatus)) {}

// Written says that it is.
func (n nowhere) Written(ctx context.Context) error { return n.Begun(ctx) }

// faultyClient refuses to write the status of requests, or crashes when it is
// written or when a Release is made.
type faultyClient struct {
	client.Client
	faults *faults
}

// Status returns the writer with the fault points.
func (c faultyClient) Status() client.SubResourceWriter {
	return faultyStatus{c.Client.Status(), c.faults}
}

// Create makes an object; a Release has a fault point behind it.
func (c faultyClient) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if err := c.Client.Create(ctx, o, opts...); err != nil {
		return err
	}
	if _, ok := o.(*v1alpha1.Release); ok {
		c.faults.crash("Release", pointAfter)
	}
	return nil
}

type faultyStatus struct {
	client.SubResourceWriter
	faults *faults
}

// Update writes a status between two fault points.
func (s faultyStatus) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	ur, ok := o.(*v1alpha1.UpdateRequest)
	if !ok {
		return s.SubResourceWriter.Update(ctx, o, opts...)
	}
	if err := s.faults.refusal(ur.Name); err != nil {
		return err
	}
	if err := s.SubResourceWriter.Update(ctx, o, opts...); err != nil {
		return err
	}
	for _, st := range ur.Status.Steps {
		if st.State == v1alpha1.StepSucceeded || st.State == v1alpha1.StepFailed {
			s.faults.crash(string(st.Name), pointAfter)
		}
	}
	return nil
}
