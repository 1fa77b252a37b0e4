// csi is the lab's storage array and its CSI driver: volumes that have to be attached to a node before its pods may use
// them, as with any SAN. The data lie in the lab's shared folder, so they are the same from every node.
//
//	csi -mode=controller   beside Kubernetes' external-attacher, on no node: the array's own management
//	csi -mode=node         on each node, registered with its kubelet
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const driver = "san.lab.ringfence.io"

func main() {
	mode := flag.String("mode", "", "controller or node")
	shared := flag.String("shared", "/srv/shared", "folder that holds the volumes, and the array's own records in .san")
	socket := flag.String("socket", "", "controller: where it listens")
	node := flag.String("node", "", "node: its name")
	kubelet := flag.String("kubelet", "/var/lib/kubelet", "node: the kubelet's folder")
	devices := flag.String("devices", "/dev/san", "node: folder for the devices of block volumes")
	flag.Parse()

	store := array{shared: *shared}
	switch *mode {
	case "controller":
		server := grpc.NewServer()
		csi.RegisterIdentityServer(server, &identity{controller: true})
		csi.RegisterControllerServer(server, &controller{array: store})
		log.Fatal(server.Serve(listen(*socket)))
	case "node":
		endpoint := filepath.Join(*kubelet, "plugins", driver, "csi.sock")
		server := grpc.NewServer()
		csi.RegisterIdentityServer(server, &identity{})
		csi.RegisterNodeServer(server, &nodeService{array: store, name: *node, devices: *devices})
		serving := listen(endpoint)
		go func() { log.Fatal(server.Serve(serving)) }()
		// The kubelet finds this second socket in its folder and asks there where the first one is.
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, &registrarService{endpoint: endpoint})
		log.Fatal(registrar.Serve(listen(filepath.Join(*kubelet, "plugins_registry", driver+"-reg.sock"))))
	default:
		log.Fatalf("unknown mode %q: controller or node", *mode)
	}
}

// listen opens a unix socket, in place of one that a power cut left behind.
func listen(path string) net.Listener {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		log.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	return listener
}

// refuse answers an error and notes it in the log.
func refuse(code codes.Code, format string, words ...any) error {
	err := status.Errorf(code, format, words...)
	log.Print(err)
	return err
}
