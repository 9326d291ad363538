// SPDX-License-Identifier: Apache-2.0

package filepages

import (
	"reflect"
	"testing"
)

const smaps = `00400000-02000000 r--p 00000000 08:01 131 /usr/bin/fairlead
Size:              28672 kB
Rss:                4016 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
02000000-05000000 r-xp 01c00000 08:01 131 /usr/bin/fairlead
Anonymous:             0 kB
09000000-09100000 r--p 08c00000 08:01 131 /usr/bin/fairlead
Anonymous:           360 kB
09100000-09200000 rw-p 08d00000 08:01 131 /usr/bin/fairlead
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Anonymous:         60224 kB
7f5040000000-7f52c0000000 r--s 00000000 08:01 977 /var/lib/fairlead/etcd/member/snap/db
Anonymous:             0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`

func TestCleanFileMappings(t *testing.T) {
	want := []mapping{
		{0x400000, 0x1c00000},
		{0x2000000, 0x3000000},
		{0x7f5040000000, 0x280000000},
	}
	if got := cleanFileMappings([]byte(smaps)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#x, want %#x: relocated, writable and anonymous memory must stay", got, want)
	}
}

// A table that is only in the program's read-only data, read before and after.
var table = [...]string{"release", "must", "not", "change", "what", "is", "read"}

func TestRelease(t *testing.T) {
	before := ""
	for _, s := range table {
		before += s
	}
	for range 3 {
		if err := Release(); err != nil {
			t.Fatal(err)
		}
	}
	after := ""
	for _, s := range table {
		after += s
	}
	if before != after {
		t.Errorf("read %q, want %q", after, before)
	}
}
