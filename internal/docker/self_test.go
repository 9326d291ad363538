// SPDX-License-Identifier: Apache-2.0

package docker

import "testing"

func TestContainerInMounts(t *testing.T) {
	id := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for text, want := range map[string]bool{
		"644 635 254:1 /var/lib/docker/containers/" + id + "/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw\n": true,
		"645 635 254:1 /data/containers/" + id + "/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n":                          true,
		"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n":                                                                     false,
		"9 1 8:1 /srv/containers/" + id[:12] + "/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n":                                  false,
	} {
		m := containerInMounts.FindStringSubmatch(text)
		if (m != nil) != want || m != nil && m[1] != id {
			t.Errorf("%q: %q", text, m)
		}
	}
	if got, err := ownContainer(t.Context(), nil, "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"); got != "" || err != nil {
		t.Errorf("on a host: %q, %v", got, err)
	}
}
