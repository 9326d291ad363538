// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A head that is all of an answer is sent with the end of the stream, as it came: as two, a head and an end, clients of gRPC take it for a
// server that broke off. Others are sent when they are there.
func TestHeadsThatAreAll(t *testing.T) {
	for name, ended := range map[string]bool{"a head alone": true, "a body follows": false} {
		got := httptest.NewRecorder()
		w := http.ResponseWriter(&answerWriter{ResponseWriter: got, stream: &stream{ended: ended}})
		if err := http.NewResponseController(w).Flush(); err != nil || got.Flushed == ended {
			t.Errorf("%s: sent before its end: %v, %v", name, got.Flushed, err)
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: the writer below is not reached: %v", name, err)
		}
	}
}
