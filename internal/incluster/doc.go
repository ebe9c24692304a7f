// Package incluster is what the controller keeps in, and asks of, the cluster it runs in, beside reading configuration:
// the CA's key, who holds a token, the webhook registrations, the root certificate in every namespace, and which
// replica leads. It is a package of its own because it writes to the cluster and holds keys, and the packages that read
// configuration do neither.
//
// In: a Client made of what Config found. Out: a ca.CA (Authority), ca.Claims (TokenReviewer), a context
// that lives as long as this replica leads (Elect), and objects in the cluster that stay as they should be (RootCerts,
// Webhooks). Everything that can fail for a while goes on trying until its context ends; nothing gives up, and nothing
// ends the program. Run and Elect return when everything they started has ended.
//
// Client and TokenReviewer are safe for concurrent use, and so are the SetRoots methods. The rest says what it is.
//
// It speaks with the API server by package apiserver. The clientset of client-go and its leader election (which imports the
// clientset) bring all kinds of Kubernetes: 27.0 instead of 14.8 MB of program and 24.0 instead of 15.5 MB resident
// (client-go v0.37.2, idle). Do not import k8s.io/client-go/kubernetes or k8s.io/client-go/tools/leaderelection from here.
//
// The package never takes over an object by another name than those below, never deletes anything, never logs a token
// or key material, and never makes a CA where a broken one exists.
//
// # Permissions
//
// Role in the controller's namespace:
//
//   - {apiGroups: [""], resources: [secrets], resourceNames: [cacerts, fairlead-ca], verbs: [get]}
//   - {apiGroups: [""], resources: [secrets], verbs: [create]}
//   - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [fairlead-leader], verbs: [get, update, delete]}
//   - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
//
// ClusterRole:
//
//   - {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
//   - {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
//   - {apiGroups: [""], resources: [pods], verbs: [list]}
//   - {apiGroups: [""], resources: [configmaps], resourceNames: [fairlead-ca-root-cert], verbs: [list, watch, create, patch]}
//   - {apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations],
//     resourceNames: [fairlead-sidecar-injector], verbs: [list, watch, patch]}
//   - {apiGroups: [admissionregistration.k8s.io], resources: [validatingwebhookconfigurations],
//     resourceNames: [fairlead-validator], verbs: [list, watch, patch]}
//
// The API server's version may be read by every authenticated user (ClusterRole system:public-info-viewer). Lists and
// watches carry a selector for the one name, which RBAC compares with resourceNames; an object that is applied is
// created under its name, so that even create can be limited. Secrets and leases are made by POST, where it cannot.
// Nothing is deleted: that verb stands for the right to change the owner of the lease, which some clusters ask for
// (admission plugin OwnerReferencesPermissionEnforcement).
//
// # The CA
//
// Authority reads the Secret cacerts, in Istio's layout (ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem) or
// cert-manager's (tls.crt, tls.key, ca.crt); where there is none, fairlead-ca (ca.crt, ca.key); where there is none
// either, it makes that. To change the CA, change or delete the Secret: the new root is handed out for five minutes
// before anything is signed below it, and the old one stays trusted for as long as a certificate can live. A replica
// that restarts meanwhile knows only what the Secrets hold, so put both roots into root-cert.pem where the change must
// not be noticed. The root of fairlead-ca stays trusted beside cacerts until fairlead-ca is deleted.
//
// To debug: every failure is one log line that names the object, and the missing rule or the wrong key of a Secret;
// the same reason is not logged twice in a row. kubectl get lease fairlead-leader shows who leads, kubectl get
// configmap fairlead-ca-root-cert --show-managed-fields who wrote it last.
package incluster
