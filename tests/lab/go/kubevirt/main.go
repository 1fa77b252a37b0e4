// kubevirt prints what KubeVirt's operator would install, as a stream of JSON documents for kubectl.
// The lab has no operator: it applies the four parts itself, in this order.
//
//	crds      the definitions of KubeVirt's kinds
//	base      namespace, accounts, their rights, certificates
//	programs  virt-handler, virt-api and virt-controller
//	webhooks  virt-api's admission hooks and its subresources (only once it answers)
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"kubevirt.io/kubevirt/pkg/certificates/triple"
	"kubevirt.io/kubevirt/pkg/certificates/triple/cert"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/rbac"
)

const namespace = "kubevirt"

// anyone but root: upstream's images of virt-api and virt-controller run as this user, ours names none.
const plainUser = int64(1001)

func main() {
	log.SetFlags(0)
	part := flag.String("part", "", "crds, base, programs or webhooks")
	image := flag.String("image", "", "image that holds all of KubeVirt's programs")
	host := flag.String("api-host", "", "address of the Kubernetes API for pods")
	port := flag.String("api-port", "6443", "port of the Kubernetes API for pods")
	ca := flag.String("ca", "", "file of KubeVirt's CA certificate: base writes it, webhooks reads it")
	flag.Parse()

	switch *part {
	case "crds":
		printDefinitions()
	case "base":
		printBase(*ca)
	case "programs":
		printPrograms(*image, *host, *port)
	case "webhooks":
		printWebhooks(*ca)
	default:
		log.Fatalf("unknown part %q", *part)
	}
}

func emit[T any](objects ...T) {
	for _, object := range objects {
		text, err := json.Marshal(object)
		check(err)
		fmt.Printf("---\n%s\n", text)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func printDefinitions() {
	for _, define := range []func() (*extv1.CustomResourceDefinition, error){
		components.NewKubeVirtCrd,
		components.NewVirtualMachineCrd,
		components.NewVirtualMachineInstanceCrd,
		components.NewVirtualMachineInstanceMigrationCrd,
		components.NewPresetCrd,
		components.NewReplicaSetCrd,
		components.NewVirtualMachinePoolCrd,
		components.NewMigrationPolicyCrd,
		components.NewVirtualMachineSnapshotCrd,
		components.NewVirtualMachineSnapshotContentCrd,
		components.NewVirtualMachineRestoreCrd,
		components.NewVirtualMachineExportCrd,
		components.NewVirtualMachineCloneCrd,
		components.NewVirtualMachineInstancetypeCrd,
		components.NewVirtualMachineClusterInstancetypeCrd,
		components.NewVirtualMachinePreferenceCrd,
		components.NewVirtualMachineClusterPreferenceCrd,
	} {
		definition, err := define()
		check(err)
		emit(definition)
	}
}

func printBase(caFile string) {
	emit(&corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
	})
	emit(components.NewKubeVirtPriorityClassCR())
	emit(rbac.GetAllHandler(namespace)...)
	emit(rbac.GetAllController(namespace)...)
	emit(rbac.GetAllApiServer(namespace)...)
	emit(rbac.GetAllCluster()...)

	authority, err := triple.NewCA("kubevirt.io", 365*24*time.Hour)
	check(err)
	bundle := cert.EncodeCertPEM(authority.Cert)
	check(os.WriteFile(caFile, bundle, 0o644))
	signer := &tls.Certificate{
		Certificate: [][]byte{authority.Cert.Raw},
		PrivateKey:  authority.Key,
		Leaf:        authority.Cert,
	}
	validity := &metav1.Duration{Duration: 300 * 24 * time.Hour}
	for _, secret := range components.NewCertSecrets(namespace, namespace) {
		check(components.PopulateSecretWithCertificate(secret, signer, validity))
		emit(secret)
	}
	for _, bundles := range components.NewCAConfigMaps(namespace) {
		bundles.Data = map[string]string{components.CABundleKey: string(bundle)}
		emit(bundles)
	}
}

func printPrograms(image, host, port string) {
	const version, verbosity = "v1.7.0", "2"
	handler := components.NewHandlerDaemonSet(namespace, "", "", version, version, version, version,
		"", "", "", image, image, image, image, corev1.PullNever, nil, nil, verbosity, nil, false)
	api := components.NewApiServerDeployment(namespace, "", "", version, "", "", "", image,
		corev1.PullNever, nil, verbosity, nil)
	controller := components.NewControllerDeployment(namespace, "", "", version, version, version, version,
		"", "", "", image, image, image, image, corev1.PullNever, nil, verbosity, nil)

	// Consoles and migrations go to the handler by its node's address.
	handler.Spec.Template.Spec.HostNetwork = true
	for _, pod := range []*corev1.PodSpec{&api.Spec.Template.Spec, &controller.Spec.Template.Spec} {
		user := plainUser
		pod.SecurityContext.RunAsUser = &user
	}
	for _, pod := range []*corev1.PodSpec{
		&handler.Spec.Template.Spec, &api.Spec.Template.Spec, &controller.Spec.Template.Spec,
	} {
		adapt(pod, host, port)
	}
	emit(handler)
	emit(api, controller)
	emit(components.NewApiServerService(namespace))
}

// adapt fits a pod to the lab: no kube-proxy (the API's real address instead of its service's), no registry, and a
// first probe at once, because a person or a test waits for it.
func adapt(pod *corev1.PodSpec, host, port string) {
	for i := range pod.InitContainers {
		pod.InitContainers[i].ImagePullPolicy = corev1.PullNever
	}
	for i := range pod.Containers {
		container := &pod.Containers[i]
		container.ImagePullPolicy = corev1.PullNever
		container.Env = append(container.Env,
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host},
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: port})
		if container.ReadinessProbe != nil {
			container.ReadinessProbe.InitialDelaySeconds = 1
			container.ReadinessProbe.PeriodSeconds = 3
		}
	}
}

func printWebhooks(caFile string) {
	bundle, err := os.ReadFile(caFile)
	check(err)
	validating := components.NewVirtAPIValidatingWebhookConfiguration(namespace)
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig.CABundle = bundle
	}
	emit(validating)
	mutating := components.NewVirtAPIMutatingWebhookConfiguration(namespace)
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig.CABundle = bundle
	}
	emit(mutating)
	for _, service := range components.NewVirtAPIAPIServices(namespace) {
		service.Spec.CABundle = bundle
		emit(service)
	}
}
