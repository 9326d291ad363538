// SPDX-License-Identifier: Apache-2.0

//go:build engine

package compose

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"
)

func (e *engine) networkList(ctx context.Context, mine filters.Args) ([]string, error) {
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: mine})
	var ids []string
	for _, n := range networks {
		ids = append(ids, n.ID)
	}
	return ids, err
}

// shop has what makes creating a second container hard.
const shop = `
name: ${PROJECT:?}
services:
  web:
    image: ${IMAGE:?}
    container_name: ${PROJECT}-www
    labels: {fairlead.dev/test: compose}
    env_file: secrets.env
    environment: {PLAIN: "1"}
    ports: ["127.0.0.1::8080", "127.0.0.1:${PORT:?}:80"]
    expose: ["81"]
    volumes: ["data:/data", /anonymous, "./conf:/conf:ro"]
    networks:
      front: {aliases: [www], priority: 10}
      back: {aliases: [api]}
      default:
    configs: [{source: inline, target: /etc/inline.conf}]
    secrets: [password]
    depends_on: {db: {condition: service_started, restart: true}}
  db:
    image: ${IMAGE}-db
    labels: {fairlead.dev/test: compose}
    volumes: ["data:/data"]
  side:
    image: ${IMAGE}
    labels: {fairlead.dev/test: compose}
    network_mode: service:web
    volumes_from: [db]
  agent:
    image: ${IMAGE}
    labels: {fairlead.dev/test: compose}
    profiles: [agent]
networks: {front: {}, back: {}}
volumes: {data: {labels: {fairlead.dev/test: compose}}}
configs: {inline: {content: "made for ${IMAGE}\n"}}
secrets: {password: {environment: PASSWORD}}
`

func (e *engine) shop(t *testing.T, port string) (deployDir, treeDir string) {
	t.Helper()
	env := "PROJECT=" + e.project + "\nIMAGE=" + e.v1 + "\nPORT=" + port + "\nPASSWORD=topsecret\n"
	return deployment(t,
		map[string]string{"compose.yml": shop, ".env": env, "secrets.env": "SECRET=s\n", "conf/a": ""},
		map[string]string{"compose.yml": shop, "conf/a": ""})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errorsOf(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

func TestCreateBesideContainersOfTheCommand(t *testing.T) {
	e := newEngine(t)
	deployDir, treeDir := e.shop(t, freePort(t))
	if err := e.ImageTag(t.Context(), e.v1, e.v1+"-db"); err != nil {
		t.Fatal(err)
	}
	adopted := cliProject(t, deployDir, api.ProjectLoadOptions{})
	up(t, adopted)
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	before := e.state(t, e.project)

	// The containers of the command are recognized.
	for name := range before {
		i := e.inspect(t, name)
		service := i.Config.Labels[LabelService]
		same, err := p.SameDefinition(service, RunningContainer{
			Labels: i.Config.Labels, Image: i.Config.Image, NetworkMode: string(i.HostConfig.NetworkMode),
			PidMode: string(i.HostConfig.PidMode), IpcMode: string(i.HostConfig.IpcMode), VolumesFrom: i.HostConfig.VolumesFrom,
		})
		if err != nil || !same {
			t.Errorf("%s does not have the model's definition: %v", name, err)
		}
		if hash, _ := p.Hash(service); service != "side" && hash != i.Config.Labels[LabelConfigHash] {
			t.Errorf("%s has another hash than the model", name)
		}
	}

	created, err := e.creator.Create(t.Context(), CreateRequest{
		Project: p, Service: "web", Image: e.v2, Count: 1, DropPorts: true,
		Labels: map[string]string{"fairlead.dev/request": "r1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(created) != 1 || created[0].Name != e.project+"-web-2" || created[0].Number != 2 {
		t.Fatalf("created %+v", created)
	}
	after := e.state(t, e.project)
	if !strings.Contains(after[created[0].Name], " created ") {
		t.Errorf("the new container: %s", after[created[0].Name])
	}
	delete(after, created[0].Name)
	if !maps.Equal(before, after) {
		t.Errorf("other containers changed: %v, were %v", after, before)
	}

	oldWeb, newWeb := e.inspect(t, e.project+"-www"), e.inspect(t, created[0].ID)
	for label, value := range oldWeb.Config.Labels {
		if label == LabelNumber || label == LabelImage || label == LabelVersion {
			continue
		}
		if newWeb.Config.Labels[label] != value {
			t.Errorf("label %s is %q, want %q", label, newWeb.Config.Labels[label], value)
		}
	}
	if newWeb.Config.Labels["fairlead.dev/request"] != "r1" || newWeb.Config.Labels[LabelNumber] != "2" ||
		newWeb.Config.Labels[LabelImage] != newWeb.Image || newWeb.Config.Image != e.v2 {
		t.Errorf("labels %v", newWeb.Config.Labels)
	}
	slices.Sort(oldWeb.Config.Env)
	slices.Sort(newWeb.Config.Env)
	if !slices.Equal(oldWeb.Config.Env, newWeb.Config.Env) || !slices.Contains(newWeb.Config.Env, "SECRET=s") {
		t.Errorf("environment %v, want %v", newWeb.Config.Env, oldWeb.Config.Env)
	}
	if len(newWeb.HostConfig.PortBindings) != 0 {
		t.Errorf("ports %v", newWeb.HostConfig.PortBindings)
	}
	for _, port := range []nat.Port{"80/tcp", "8080/tcp", "81/tcp"} {
		if _, ok := newWeb.Config.ExposedPorts[port]; !ok {
			t.Errorf("port %s is not exposed", port)
		}
	}
	compareNetworks(t, oldWeb, newWeb, e.project+"-www", created[0].Name)
	compareMounts(t, oldWeb, newWeb)
	if got := e.read(t, created[0].ID, "/etc/inline.conf"); got != "made for "+e.v1+"\n" {
		t.Errorf("inline config %q", got)
	}
	if got := e.read(t, created[0].ID, "/run/secrets/password"); got != "topsecret" {
		t.Errorf("secret %q", got)
	}

	e.takeOver(t, oldWeb, newWeb)
	side, err := e.creator.Create(t.Context(), CreateRequest{Project: p, Service: "side", Image: e.v2, Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range side {
		if c.Number != i+2 || string(e.inspect(t, c.ID).HostConfig.NetworkMode) != "container:"+newWeb.ID {
			t.Errorf("%+v is in %s", c, e.inspect(t, c.ID).HostConfig.NetworkMode)
		}
		if from := e.inspect(t, c.ID).HostConfig.VolumesFrom; !slices.Equal(from, []string{e.inspect(t, e.project+"-db-1").ID}) {
			t.Errorf("volumes from %v", from)
		}
	}
	if err := e.ContainerRemove(t.Context(), e.project+"-side-1", container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerRemove(t.Context(), side[1].ID, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}

	// `docker compose up` finds nothing to do, once its image is the new one.
	if err := e.ImageTag(t.Context(), e.v2, e.v1); err != nil {
		t.Fatal(err)
	}
	up(t, cliProject(t, deployDir, api.ProjectLoadOptions{}))
	final := e.state(t, e.project)
	for name, id := range map[string]string{e.project + "-www": newWeb.ID, side[0].Name: side[0].ID} {
		if !strings.HasPrefix(final[name], id+" running") {
			t.Errorf("%s was recreated: %s, want %s", name, final[name], id)
		}
	}
	if len(final) != 3 {
		t.Errorf("containers %v", final)
	}
}

// takeOver starts the new container in place of the old one.
func (e *engine) takeOver(t *testing.T, oldWeb, newWeb container.InspectResponse) {
	t.Helper()
	ctx := t.Context()
	err := e.ContainerRemove(ctx, oldWeb.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err := errorsOf(err, e.ContainerRename(ctx, newWeb.ID, oldWeb.Name[1:]), e.ContainerStart(ctx, newWeb.ID, container.StartOptions{})); err != nil {
		t.Fatal(err)
	}
}

func compareNetworks(t *testing.T, a, b container.InspectResponse, nameA, nameB string) {
	t.Helper()
	if len(a.NetworkSettings.Networks) != 3 || len(b.NetworkSettings.Networks) != 3 {
		t.Errorf("networks %v, want %v", slices.Sorted(maps.Keys(b.NetworkSettings.Networks)), slices.Sorted(maps.Keys(a.NetworkSettings.Networks)))
	}
	for name, n := range a.NetworkSettings.Networks {
		want := slices.DeleteFunc(slices.Clone(n.Aliases), func(s string) bool { return s == nameA || s == a.ID[:12] })
		got := slices.DeleteFunc(slices.Clone(b.NetworkSettings.Networks[name].Aliases), func(s string) bool { return s == nameB || s == b.ID[:12] })
		if !slices.Equal(got, want) {
			t.Errorf("aliases in %s are %v, want %v", name, got, want)
		}
	}
	if a.HostConfig.NetworkMode != b.HostConfig.NetworkMode {
		t.Errorf("first network %s, want %s", b.HostConfig.NetworkMode, a.HostConfig.NetworkMode)
	}
}

func compareMounts(t *testing.T, a, b container.InspectResponse) {
	t.Helper()
	byTarget := func(i container.InspectResponse) map[string]container.MountPoint {
		result := map[string]container.MountPoint{}
		for _, m := range i.Mounts {
			result[m.Destination] = m
		}
		return result
	}
	want, got := byTarget(a), byTarget(b)
	for target, m := range want {
		same := got[target].Source == m.Source && got[target].RW == m.RW
		if anonymous := target == "/anonymous"; same == anonymous || got[target].Type != m.Type {
			t.Errorf("mount %s is %+v, other has %+v", target, got[target], m)
		}
	}
	if len(got) != len(want) {
		t.Errorf("mounts %v, want %v", got, want)
	}
}

func (e *engine) read(t *testing.T, id, path string) string {
	t.Helper()
	r, _, err := e.CopyFromContainer(t.Context(), id, path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	archive := tar.NewReader(r)
	if _, err := archive.Next(); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (e *engine) load(t *testing.T, yaml string) *Project {
	t.Helper()
	deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": yaml})
	return mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir, ProjectName: e.project, Env: map[string]string{"IMAGE": e.v1, "PROJECT": e.project}})
}

const labelled = "labels: {fairlead.dev/test: compose}"

func TestCreateKeepsTheContainerName(t *testing.T) {
	e := newEngine(t)
	p := e.load(t, "services: {web: {image: $IMAGE, container_name: $PROJECT-www, networks: [default, second], "+labelled+"}}\nnetworks: {second: }\n")
	first, err := e.creator.Create(t.Context(), CreateRequest{Project: p, Service: "web", Image: e.v1, Count: 1, KeepContainerName: true})
	if err != nil || first[0].Name != e.project+"-www" || first[0].Number != 1 {
		t.Fatalf("%+v %v", first, err)
	}
	i := e.inspect(t, first[0].ID)
	if hash, _ := p.Hash("web"); i.Name != "/"+e.project+"-www" || i.Config.Labels[LabelConfigHash] != hash {
		t.Errorf("%s %v", i.Name, i.Config.Labels)
	}
	for name, n := range i.NetworkSettings.Networks {
		if !slices.Contains(n.Aliases, e.project+"-www") || !slices.Contains(n.Aliases, "web") {
			t.Errorf("aliases in %s: %v", name, n.Aliases)
		}
	}
	// A second one of that name: refused by the engine, nothing left over.
	before := e.state(t, e.project)
	_, err = e.creator.Create(t.Context(), CreateRequest{Project: p, Service: "web", Image: e.v1, Count: 1, KeepContainerName: true})
	if err == nil || !strings.Contains(err.Error(), e.project+"-www") {
		t.Errorf("error %v", err)
	}
	if after := e.state(t, e.project); !maps.Equal(before, after) {
		t.Errorf("containers %v, were %v", after, before)
	}
	// Beside it, under its own name.
	second, err := e.creator.Create(t.Context(), CreateRequest{Project: p, Service: "web", Image: e.v1, Count: 2})
	if err != nil || len(second) != 2 || second[0].Number != 2 || second[1].Number != 3 {
		t.Errorf("%+v %v", second, err)
	}
}

func TestCreateLeavesOtherStatesAlone(t *testing.T) {
	e := newEngine(t)
	p := e.load(t, "services:\n  a: {image: $IMAGE, scale: 1, "+labelled+"}\n  b: {image: $IMAGE, depends_on: [a], "+labelled+"}\n  c: {image: $IMAGE, network_mode: \"service:a\", "+labelled+"}\n")
	ctx := t.Context()
	first, err := e.creator.Create(ctx, CreateRequest{Project: p, Service: "a", Image: e.v1, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := errorsOf(e.ContainerStart(ctx, first[0].ID, container.StartOptions{}), e.ContainerPause(ctx, first[0].ID),
		e.ContainerStart(ctx, first[1].ID, container.StartOptions{})); err != nil {
		t.Fatal(err)
	}
	before := e.state(t, e.project)
	// Neither a's surplus copies nor the paused one are touched, and b's
	// missing dependency is no reason to create any.
	for _, service := range []string{"a", "b"} {
		created, err := e.creator.Create(ctx, CreateRequest{Project: p, Service: service, Image: e.v2, Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		after := e.state(t, e.project)
		delete(after, created[0].Name)
		if !maps.Equal(before, after) {
			t.Errorf("containers %v, were %v", after, before)
		}
		before[created[0].Name] = e.state(t, e.project)[created[0].Name]
	}
	// A shared namespace is that of the running copy, unless told otherwise.
	for want, references := range map[string]map[string]string{first[1].ID: nil, first[2].ID: {"a": first[2].ID}} {
		created, err := e.creator.Create(ctx, CreateRequest{Project: p, Service: "c", Image: e.v1, Count: 1, References: references})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(e.inspect(t, created[0].ID).HostConfig.NetworkMode); got != "container:"+want {
			t.Errorf("network mode %s, want that of %s", got, want)
		}
	}
	if got := e.inspect(t, e.project+"-b-1").Config.Labels[LabelDependsOn]; got != "a:service_started:false" {
		t.Errorf("depends_on label %q", got)
	}
}

func TestCreateErrorsLeaveNothingBehind(t *testing.T) {
	e := newEngine(t)
	p := e.load(t, `x-volumes: &v [{type: volume, target: /anonymous, volume: {labels: {fairlead.dev/test: $PROJECT}}}]
services:
  a: {image: $IMAGE, `+labelled+`}
  wrong: {image: $IMAGE, volumes: *v, networks: {default: , second: {ipv4_address: 10.213.9.9}}, `+labelled+`}
  readonly: {image: $IMAGE, read_only: true, configs: [c], volumes: *v, `+labelled+`}
  blocked: {image: $IMAGE, configs: [{source: c, target: /app/x}], volumes: *v, `+labelled+`}
  side: {image: $IMAGE, network_mode: "service:a", `+labelled+`}
  lost: {image: $IMAGE, networks: [outside], `+labelled+`}
networks: {second: {}, outside: {external: true, name: $PROJECT-none}}
configs: {c: {content: x}}
`)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		r    CreateRequest
		want string
	}{
		"no image":         {t.Context(), CreateRequest{Service: "a", Image: e.project + ":none", Count: 1}, "is not on this host"},
		"no service":       {t.Context(), CreateRequest{Service: "none", Image: e.v1, Count: 1}, "no active service"},
		"no count":         {t.Context(), CreateRequest{Service: "a", Image: e.v1}, "at least 1"},
		"cancelled":        {cancelled, CreateRequest{Service: "a", Image: e.v1, Count: 1}, context.Canceled.Error()},
		"second network":   {t.Context(), CreateRequest{Service: "wrong", Image: e.v1, Count: 2}, "service wrong"},
		"config":           {t.Context(), CreateRequest{Service: "readonly", Image: e.v1, Count: 2}, "read_only"},
		"copy":             {t.Context(), CreateRequest{Service: "blocked", Image: e.v1, Count: 2}, "copying /app/x"},
		"reference":        {t.Context(), CreateRequest{Service: "side", Image: e.v1, Count: 1}, "service a, which has no container"},
		"external network": {t.Context(), CreateRequest{Service: "lost", Image: e.v1, Count: 1}, "external"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.r.Project = p
			_, err := e.creator.Create(tc.ctx, tc.r)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if left := e.state(t, e.project); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			mine := filters.NewArgs(filters.Arg("label", "fairlead.dev/test="+e.project))
			if list, err := e.VolumeList(t.Context(), volume.ListOptions{Filters: mine}); err != nil || len(list.Volumes) != 0 {
				t.Errorf("volumes left behind: %v %v", list.Volumes, err)
			}
		})
	}
}

func TestCreateInParallel(t *testing.T) {
	e := newEngine(t)
	service := "{image: $IMAGE, networks: [default, n], volumes: [\"vol:/v\"], " + labelled + "}"
	yaml := "services: {a: " + service + ", b: " + service + ", c: " + service + "}\nnetworks: {n: }\nvolumes: {vol: {" + labelled + "}}\n"
	projects := []*Project{e.load(t, yaml), e.load(t, yaml)}
	deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": yaml})
	projects = append(projects, mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir, ProjectName: e.project + "-two", Env: map[string]string{"IMAGE": e.v1}}))

	var wg sync.WaitGroup
	services := []string{"a", "b", "c"}
	errs := make([]error, len(projects)*len(services))
	for i, p := range projects {
		for j, service := range services {
			wg.Go(func() {
				_, errs[i*len(services)+j] = e.creator.Create(t.Context(), CreateRequest{Project: p, Service: service, Image: e.v1, Count: 2})
			})
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for project, each := range map[string]int{e.project: 4, e.project + "-two": 2} {
		var want []string
		for _, service := range services {
			for n := range each {
				want = append(want, fmt.Sprintf("%s-%s-%d", project, service, n+1))
			}
		}
		if names := slices.Sorted(maps.Keys(e.state(t, project))); !slices.Equal(names, want) {
			t.Errorf("containers %v, want %v", names, want)
		}
		// The engine would make two of one name.
		networks, err := e.NetworkList(t.Context(), network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelProject+"="+project))})
		if err != nil || len(networks) != 2 || networks[0].Name == networks[1].Name {
			t.Errorf("networks %+v, %v", networks, err)
		}
	}
}

func TestResources(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	yaml := "services: {a: {image: $IMAGE, networks: [default, n], volumes: [\"vol:/v\"], " + labelled + "}}\nnetworks: {n: {internal: false}}\nvolumes: {vol: {" + labelled + "}}\n"
	p := e.load(t, yaml)
	if d, err := e.creator.CheckResources(ctx, p); err != nil || len(d) != 0 {
		t.Errorf("divergences %v %v", d, err)
	}
	if err := e.creator.EnsureResources(ctx, p, map[string]string{"fairlead.dev/application": "x"}); err != nil {
		t.Fatal(err)
	}
	before, err := e.NetworkInspect(ctx, e.project+"_n", network.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.VolumeInspect(ctx, e.project+"_vol")
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := p.networkHash("n")
	if before.Labels[LabelConfigHash] != hash || before.Labels["fairlead.dev/application"] != "x" || before.Labels[LabelNetwork] != "n" || v.Labels["fairlead.dev/application"] != "x" {
		t.Errorf("labels %v, %v", before.Labels, v.Labels)
	}
	if len(e.state(t, e.project)) != 0 {
		t.Error("a container was made")
	}
	if d, err := e.creator.CheckResources(ctx, p); err != nil || len(d) != 0 {
		t.Errorf("divergences %v %v", d, err)
	}

	changed := e.load(t, strings.NewReplacer("internal: false", "internal: true", "vol: {labels", "vol: {driver_opts: {type: tmpfs, device: tmpfs}, labels").Replace(yaml))
	d, err := e.creator.CheckResources(ctx, changed)
	if err != nil || len(d) != 2 || d[0].Kind != KindNetwork || d[0].Name != e.project+"_n" || d[1].Kind != KindVolume || Blocking(d) != nil {
		t.Errorf("divergences %+v %v", d, err)
	}
	// They are used as they are.
	if err := e.creator.EnsureResources(ctx, changed, nil); err != nil {
		t.Error(err)
	}
	if _, err := e.creator.Create(ctx, CreateRequest{Project: changed, Service: "a", Image: e.v1, Count: 1}); err != nil {
		t.Error(err)
	}
	if after, err := e.NetworkInspect(ctx, e.project+"_n", network.InspectOptions{}); err != nil || after.ID != before.ID {
		t.Errorf("the network was recreated: %v", err)
	}
	if after, err := e.VolumeInspect(ctx, e.project+"_vol"); err != nil || after.CreatedAt != v.CreatedAt {
		t.Errorf("the volume was recreated: %v", err)
	}

	more := e.load(t, strings.NewReplacer("vol:/v", "vol:/v\", \"second:/w", "volumes: {vol:", "volumes: {second: {"+labelled+"}, vol:").Replace(yaml))
	if err := e.creator.EnsureResources(ctx, more, nil); err != nil {
		t.Error(err)
	}
	if _, err := e.VolumeInspect(ctx, e.project+"_second"); err != nil {
		t.Errorf("what was missing beside others was not made: %v", err)
	}

	renamed := e.load(t, strings.Replace(yaml, "vol: {labels", "vol: {name: $PROJECT-renamed, labels", 1))
	d, err = e.creator.CheckResources(ctx, renamed)
	if err != nil || len(d) != 1 || !strings.Contains(d[0].Message, "made empty") || !strings.Contains(d[0].Message, e.project+"_vol") {
		t.Errorf("divergences %+v %v", d, err)
	}
	if _, err := e.creator.Create(ctx, CreateRequest{Project: renamed, Service: "a", Image: e.v1, Count: 1}); err != nil {
		t.Errorf("with a renamed volume: %v", err)
	}

	external := e.load(t, strings.Replace(yaml, "n: {internal: false}", "n: {external: true, name: $PROJECT-ext}", 1))
	d, err = e.creator.CheckResources(ctx, external)
	if err != nil || Blocking(d) == nil || !strings.Contains(Blocking(d).Error(), "docker network create "+e.project+"-ext") {
		t.Errorf("divergences %+v %v", d, err)
	}
}
