package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// nodeService puts published volumes where pods look for them: folders by bind mounts, devices as themselves.
// Nothing here removes more than an empty folder or a mount point's file: what looks like one may hold a guest's disk.
type nodeService struct {
	csi.UnimplementedNodeServer
	array   array
	name    string
	devices string
}

func (n *nodeService) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *nodeService) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	stages := &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		{Type: &csi.NodeServiceCapability_Rpc{Rpc: stages}},
	}}, nil
}

func (n *nodeService) NodeStageVolume(
	_ context.Context, ask *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	volume, target, block := ask.GetVolumeId(), ask.GetStagingTargetPath(), ask.GetVolumeCapability().GetBlock() != nil
	if err := n.may(volume, target, block); err != nil {
		return nil, err
	}
	var err error
	if block {
		var minor int
		if minor, err = n.array.minor(volume); err == nil {
			err = device(filepath.Join(n.devices, volume), minor)
		}
	} else if err = os.MkdirAll(target, 0o755); err == nil {
		err = bind(n.array.folder(volume), target)
	}
	if err != nil {
		return nil, refuse(codes.Internal, "stage %s: %v", volume, err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *nodeService) NodePublishVolume(
	_ context.Context, ask *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	volume, target, block := ask.GetVolumeId(), ask.GetTargetPath(), ask.GetVolumeCapability().GetBlock() != nil
	if err := n.may(volume, target, block); err != nil {
		return nil, err
	}
	source, err := ask.GetStagingTargetPath(), os.MkdirAll(filepath.Dir(target), 0o755)
	if err == nil && block {
		source = filepath.Join(n.devices, volume)
		var file *os.File
		if file, err = os.OpenFile(target, os.O_CREATE, 0o660); err == nil {
			err = file.Close()
		}
	} else if err == nil {
		err = os.MkdirAll(target, 0o755)
	}
	if err == nil {
		err = bind(source, target)
	}
	if err != nil {
		return nil, refuse(codes.Internal, "publish %s: %v", volume, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *nodeService) NodeUnpublishVolume(
	_ context.Context, ask *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if ask.GetVolumeId() == "" || ask.GetTargetPath() == "" {
		return nil, refuse(codes.InvalidArgument, "unpublish: volume_id and target_path are needed")
	}
	if err := n.clear(ask.GetTargetPath()); err != nil {
		return nil, refuse(codes.Internal, "unpublish %s: %v", ask.GetVolumeId(), err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *nodeService) NodeUnstageVolume(
	_ context.Context, ask *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if ask.GetVolumeId() == "" || ask.GetStagingTargetPath() == "" {
		return nil, refuse(codes.InvalidArgument, "unstage: volume_id and staging_target_path are needed")
	}
	err := unmount(ask.GetStagingTargetPath())
	if device := filepath.Join(n.devices, ask.GetVolumeId()); err == nil && plain.MatchString(ask.GetVolumeId()) {
		if err = os.Remove(device); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return nil, refuse(codes.Internal, "unstage %s: %v", ask.GetVolumeId(), err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// may tells why the volume can't be used here: the array decides, not Kubernetes.
func (n *nodeService) may(volume, target string, block bool) error {
	if volume == "" || target == "" {
		return refuse(codes.InvalidArgument, "volume_id and a target path are needed")
	}
	if !n.array.exists(volume, block) {
		return refuse(codes.NotFound, "there is no volume %q of that kind", volume)
	}
	record, err := n.array.record(volume)
	if err != nil {
		return refuse(codes.Internal, "%s: %v", volume, err)
	}
	if !slices.Contains(record.Nodes, n.name) {
		return refuse(codes.FailedPrecondition, "%s is not published to %s but to %v", volume, n.name, record.Nodes)
	}
	return nil
}

func (n *nodeService) clear(target string) error {
	if err := unmount(target); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// bind mounts source on target, once: a second call on the same target changes nothing.
func bind(source, target string) error {
	var from, to syscall.Stat_t
	if err := syscall.Stat(source, &from); err != nil {
		return err
	}
	if err := syscall.Stat(target, &to); err != nil {
		return err
	}
	if from.Dev == to.Dev && from.Ino == to.Ino {
		return nil
	}
	return syscall.Mount(source, target, "", syscall.MS_BIND, "")
}

// unmount takes away what is mounted on target; nothing mounted there, or no such path, is fine.
func unmount(target string) error {
	err := syscall.Unmount(target, 0)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// device makes the loop device's node, in place of an older volume's of that name.
func device(path string, minor int) error {
	const loop = 7
	number := loop<<8 | minor // as the kernel numbers devices with a minor below 256
	var found syscall.Stat_t
	if err := syscall.Stat(path, &found); err == nil {
		if found.Mode&syscall.S_IFMT == syscall.S_IFBLK && found.Rdev == uint64(number) {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return syscall.Mknod(path, syscall.S_IFBLK|0o660, number)
}
