package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// world is an array with a folder volume "db" and a device volume "lun", and its driver on two nodes, each behind a
// unix socket as for Kubernetes. Mounts are real: run it as root, in a mount namespace of its own.
type world struct {
	folder     string
	controller csi.ControllerClient
	nodes      map[string]csi.NodeClient
}

func dial(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	link, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = link.Close() })
	return link
}

func serve(t *testing.T, path string, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer()
	register(server)
	listener := listen(path)
	go func(on net.Listener) { _ = server.Serve(on) }(listener)
	t.Cleanup(server.Stop)
	return dial(t, path)
}

func newWorld(t *testing.T) world {
	t.Helper()
	folder := t.TempDir()
	shared := array{shared: filepath.Join(folder, "shared")}
	must(t, os.MkdirAll(shared.folder("db"), 0o755))
	must(t, os.WriteFile(filepath.Join(shared.folder("db"), "disk.img"), []byte("ticks"), 0o644))
	must(t, os.WriteFile(filepath.Join(shared.shared, ".luns"), []byte("lun 31\n"), 0o644))
	made := world{folder: folder, nodes: map[string]csi.NodeClient{}}
	made.controller = csi.NewControllerClient(serve(t, filepath.Join(folder, "c.sock"), func(s *grpc.Server) {
		csi.RegisterControllerServer(s, &controller{array: shared})
	}))
	for _, name := range []string{"n1", "n2"} {
		made.nodes[name] = csi.NewNodeClient(serve(t, filepath.Join(folder, name+".sock"), func(s *grpc.Server) {
			csi.RegisterNodeServer(s, &nodeService{array: shared, name: name, devices: filepath.Join(folder, name, "dev")})
		}))
	}
	return made
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("wanted %v, got %v", code, err)
	}
}

func capability(mode csi.VolumeCapability_AccessMode_Mode, block bool) *csi.VolumeCapability {
	how := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode}}
	if block {
		how.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		how.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}
	}
	return how
}

var (
	once = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, false)
	many = capability(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, false)
	lun  = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, true)
)

func (w world) publish(volume, node string, how *csi.VolumeCapability) error {
	_, err := w.controller.ControllerPublishVolume(context.Background(),
		&csi.ControllerPublishVolumeRequest{VolumeId: volume, NodeId: node, VolumeCapability: how})
	return err
}

func (w world) unpublish(volume, node string) error {
	_, err := w.controller.ControllerUnpublishVolume(context.Background(),
		&csi.ControllerUnpublishVolumeRequest{VolumeId: volume, NodeId: node})
	return err
}

func (w world) stage(volume, node string, how *csi.VolumeCapability) error {
	_, err := w.nodes[node].NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{
		VolumeId: volume, StagingTargetPath: filepath.Join(w.folder, node, "stage"), VolumeCapability: how,
	})
	return err
}

func (w world) mount(volume, node, target string, how *csi.VolumeCapability) error {
	_, err := w.nodes[node].NodePublishVolume(context.Background(), &csi.NodePublishVolumeRequest{
		VolumeId: volume, StagingTargetPath: filepath.Join(w.folder, node, "stage"), TargetPath: target, VolumeCapability: how,
	})
	return err
}

func (w world) clear(t *testing.T, volume, node, target string) {
	t.Helper()
	ctx := context.Background()
	_, err := w.nodes[node].NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: volume, TargetPath: target})
	must(t, err)
	_, err = w.nodes[node].NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{
		VolumeId: volume, StagingTargetPath: filepath.Join(w.folder, node, "stage"),
	})
	must(t, err)
}

func TestAVolumeOfOneNodeIsRefusedToAnother(t *testing.T) {
	w := newWorld(t)
	must(t, w.publish("db", "n1", once))
	must(t, w.publish("db", "n1", once))
	refused(t, w.publish("db", "n2", once), codes.FailedPrecondition)
	refused(t, w.publish("db", "n2", many), codes.FailedPrecondition)
	must(t, w.unpublish("db", "n1"))
	must(t, w.unpublish("db", "n1"))
	must(t, w.publish("db", "n2", once))
}

func TestASharedVolumeGoesToSeveral(t *testing.T) {
	w := newWorld(t)
	must(t, w.publish("db", "n1", many))
	must(t, w.publish("db", "n2", many))
	refused(t, w.publish("db", "n1", once), codes.AlreadyExists)
	must(t, w.unpublish("db", "n1"))
	must(t, w.stage("db", "n2", many))
	w.clear(t, "db", "n2", filepath.Join(w.folder, "n2", "pod"))
}

func TestANodeUsesOnlyWhatIsPublishedToIt(t *testing.T) {
	w := newWorld(t)
	refused(t, w.stage("db", "n1", once), codes.FailedPrecondition)
	must(t, w.publish("db", "n1", once))
	refused(t, w.stage("db", "n2", once), codes.FailedPrecondition)
	target := filepath.Join(w.folder, "n1", "pods", "mount")
	for range 2 { // Kubernetes asks again when it has lost an answer
		must(t, w.stage("db", "n1", once))
		must(t, w.mount("db", "n1", target, once))
	}
	text, err := os.ReadFile(filepath.Join(target, "disk.img"))
	must(t, err)
	if string(text) != "ticks" {
		t.Fatalf("the pod sees %q", text)
	}
	for range 2 {
		w.clear(t, "db", "n1", target)
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Fatalf("the target is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(w.folder, "shared", "db", "disk.img")); err != nil {
		t.Fatalf("the guest's disk is gone: %v", err)
	}
}

func TestABlockVolumeIsItsDevice(t *testing.T) {
	w := newWorld(t)
	must(t, w.publish("lun", "n1", lun))
	must(t, w.stage("lun", "n1", lun))
	target := filepath.Join(w.folder, "n1", "pods", "device")
	must(t, w.mount("lun", "n1", target, lun))
	var found syscall.Stat_t
	must(t, syscall.Stat(target, &found))
	if found.Mode&syscall.S_IFMT != syscall.S_IFBLK || found.Rdev != 7<<8|31 {
		t.Fatalf("mode %o, device %d", found.Mode, found.Rdev)
	}
	w.clear(t, "lun", "n1", target)
	if _, err := os.Stat(filepath.Join(w.folder, "n1", "dev", "lun")); !os.IsNotExist(err) {
		t.Fatalf("the device is left: %v", err)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	w := newWorld(t)
	refused(t, w.publish("db", "n1", lun), codes.NotFound)
	refused(t, w.publish("lun", "n1", once), codes.NotFound)
	refused(t, w.publish("../db", "n1", once), codes.NotFound)
	refused(t, w.publish("db", "", once), codes.InvalidArgument)
	refused(t, w.publish("db", "n1", capability(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, false)), codes.InvalidArgument)
	must(t, w.unpublish("never", "n1"))
}

func TestAnArrayThatKeepsItsVolumes(t *testing.T) {
	w := newWorld(t)
	must(t, w.publish("db", "n1", once))
	keeps := filepath.Join(w.folder, "shared", ".san", ".keeps")
	must(t, os.WriteFile(keeps, nil, 0o644))
	refused(t, w.unpublish("db", "n1"), codes.Unavailable)
	must(t, os.Remove(keeps))
	must(t, w.unpublish("db", "n1"))
}

func TestTheKubeletIsToldWhereTheDriverIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reg.sock")
	client := registration.NewRegistrationClient(serve(t, path, func(s *grpc.Server) {
		registration.RegisterRegistrationServer(s, &registrarService{endpoint: "/plugins/csi.sock"})
	}))
	told, err := client.GetInfo(context.Background(), &registration.InfoRequest{})
	must(t, err)
	if told.GetType() != registration.CSIPlugin || told.GetName() != driver || told.GetEndpoint() != "/plugins/csi.sock" {
		t.Fatalf("told %v", told)
	}
}
