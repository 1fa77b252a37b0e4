module lab/csi

go 1.26.0

require (
	github.com/container-storage-interface/spec v1.13.0
	github.com/kubernetes-csi/external-attacher/v4 v4.13.0
	google.golang.org/grpc v1.83.2
	k8s.io/kubelet v0.36.3
)

require (
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260825221802-da73d73af1c5 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace k8s.io/api => k8s.io/api v0.37.0

replace k8s.io/apimachinery => k8s.io/apimachinery v0.37.0

replace k8s.io/client-go => k8s.io/client-go v0.37.0

replace k8s.io/component-base => k8s.io/component-base v0.37.0

replace k8s.io/csi-translation-lib => k8s.io/csi-translation-lib v0.37.0

replace k8s.io/apiserver => k8s.io/apiserver v0.37.0

replace k8s.io/kms => k8s.io/kms v0.37.0

replace k8s.io/streaming => k8s.io/streaming v0.37.0
