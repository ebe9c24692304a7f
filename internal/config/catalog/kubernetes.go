package catalog

// kubernetesKinds lists the kinds that Kubernetes itself has, or had, by name alone: a manifest with an apiVersion of
// years ago is still no slip of the pen. Those that Fairlead reads are among them; who reads a kind looks for it in its
// own list first.
func kubernetesKinds() []string {
	return []string{
		// core
		"Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node",
		"PersistentVolume", "PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController", "ResourceQuota", "Secret",
		"Service", "ServiceAccount",
		// apps, batch, autoscaling, policy
		"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "CronJob", "Job",
		"HorizontalPodAutoscaler", "VerticalPodAutoscaler", "Eviction", "PodDisruptionBudget", "PodSecurityPolicy",
		// networking, discovery
		"EndpointSlice", "Ingress", "IngressClass", "IPAddress", "NetworkPolicy", "ServiceCIDR",
		// rbac, authentication, authorization, certificates
		"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "CertificateSigningRequest", "ClusterTrustBundle",
		"PodCertificateRequest", "SelfSubjectReview", "TokenRequest", "TokenReview", "LocalSubjectAccessReview",
		"SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview",
		// storage, scheduling, resources, nodes, coordination
		"CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment", "VolumeAttributesClass",
		"VolumeSnapshot", "VolumeSnapshotClass", "VolumeSnapshotContent", "PriorityClass", "DeviceClass", "ResourceClaim",
		"ResourceClaimTemplate", "ResourceSlice", "RuntimeClass", "Lease", "LeaseCandidate",
		// extensions of the API server
		"APIService", "CustomResourceDefinition", "FlowSchema", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
		"MutatingWebhookConfiguration", "PriorityLevelConfiguration", "StorageVersionMigration", "ValidatingAdmissionPolicy",
		"ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
	}
}
