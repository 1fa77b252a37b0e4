package main

import (
	"context"
	"errors"
	"log"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// controller publishes volumes to nodes and takes them back. It makes none: the lab does, beforehand.
type controller struct {
	csi.UnimplementedControllerServer
	array array
	turn  sync.Mutex
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	publishes := &csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		{Type: &csi.ControllerServiceCapability_Rpc{Rpc: publishes}},
	}}, nil
}

func (c *controller) ControllerPublishVolume(
	_ context.Context, ask *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	volume, node, how := ask.GetVolumeId(), ask.GetNodeId(), ask.GetVolumeCapability()
	if volume == "" || node == "" || how == nil {
		return nil, refuse(codes.InvalidArgument, "publish: volume_id, node_id and volume_capability are needed")
	}
	shared, known := modes[how.GetAccessMode().GetMode()]
	if !known {
		return nil, refuse(codes.InvalidArgument, "publish %s: access mode %v is not served", volume, how.GetAccessMode().GetMode())
	}
	if !c.array.exists(volume, how.GetBlock() != nil) {
		return nil, refuse(codes.NotFound, "publish: there is no volume %q of that kind", volume)
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	switch err := c.array.publish(volume, node, shared); {
	case errors.Is(err, errElsewhere):
		return nil, refuse(codes.FailedPrecondition, "publish %s to %s: %v", volume, node, err)
	case err != nil:
		return nil, refuse(codes.AlreadyExists, "publish %s to %s: %v", volume, node, err)
	}
	log.Printf("%s is published to %s", volume, node)
	return &csi.ControllerPublishVolumeResponse{}, nil
}

func (c *controller) ControllerUnpublishVolume(
	_ context.Context, ask *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	volume, node := ask.GetVolumeId(), ask.GetNodeId()
	if volume == "" {
		return nil, refuse(codes.InvalidArgument, "unpublish: volume_id is needed")
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.array.stuck() {
		return nil, refuse(codes.Unavailable, "unpublish %s from %s: the array does not answer", volume, node)
	}
	if err := c.array.unpublish(volume, node); err != nil {
		return nil, refuse(codes.Internal, "unpublish %s from %s: %v", volume, node, err)
	}
	log.Printf("%s is taken from %s", volume, node)
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, ask *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	answer := &csi.ValidateVolumeCapabilitiesResponse{}
	for _, how := range ask.GetVolumeCapabilities() {
		if !c.array.exists(ask.GetVolumeId(), how.GetBlock() != nil) {
			return nil, refuse(codes.NotFound, "there is no volume %q of that kind", ask.GetVolumeId())
		}
		if _, known := modes[how.GetAccessMode().GetMode()]; !known {
			return answer, nil
		}
	}
	answer.Confirmed = &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: ask.GetVolumeCapabilities()}
	return answer, nil
}

// modes that are served, and whether several nodes may use such a volume at once.
var modes = map[csi.VolumeCapability_AccessMode_Mode]bool{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER:      false,
	csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER: true,
}
