package check

// Names that the installation gives its objects.
const (
	// SystemNamespace is where the control plane is installed.
	SystemNamespace = "fairlead-system"
	// Controller is the name of the Deployment, the Service and the ServiceAccount of the control plane.
	Controller = "fairlead-controller"
	// MonitorPort is where a controller pod tells about itself.
	MonitorPort = 15014
	// ProxyContainer is the name of the sidecar in a pod.
	ProxyContainer = "fairlead-proxy"

	webhookPort      = 15017
	injectorWebhook  = "fairlead-sidecar-injector"
	validatorWebhook = "fairlead-validator"
	configMap        = "fairlead"
	injectorKey      = "injector.yaml"
	ownCASecret      = "fairlead-ca"
	givenCASecret    = "cacerts"
	rootsConfigMap   = "fairlead-ca-root-cert"
	rootsKey         = "root-cert.pem"
	leaderLease      = "fairlead-leader"
	cniDaemonSet     = "fairlead-cni"

	injectLabel = "fairlead.dev/inject"
	enabled     = "enabled"
)
