// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HookPoint is a moment of an update at which a hook runs.
// +kubebuilder:validation:Enum=Preflight;BeforeBackup;AfterBackup;BeforeService;AfterService;Success;Failure
type HookPoint string

// Hook points.
const (
	// HookPreflight runs after the checks, before anything is changed.
	HookPreflight HookPoint = "Preflight"
	// HookBeforeBackup runs before the backup, HookAfterBackup after one that
	// worked.
	HookBeforeBackup HookPoint = "BeforeBackup"
	HookAfterBackup  HookPoint = "AfterBackup"
	// HookBeforeService runs before the first container of a service is made,
	// HookAfterService when the rollout is done: the new containers are ready and
	// the old ones stopped. Neither runs on the way back.
	HookBeforeService HookPoint = "BeforeService"
	HookAfterService  HookPoint = "AfterService"
	// HookSuccess runs when a request has succeeded, HookFailure when it has
	// ended otherwise.
	HookSuccess HookPoint = "Success"
	HookFailure HookPoint = "Failure"
)

// HookFailurePolicy says what becomes of an update whose hook fails.
// +kubebuilder:validation:Enum=Fail;Continue
type HookFailurePolicy string

// Hook failure policies.
const (
	// HookFail fails the update, which is undone if it changed anything.
	HookFail HookFailurePolicy = "Fail"
	// HookContinue writes the failure to the log and goes on.
	HookContinue HookFailurePolicy = "Continue"
)

// Hook is a command or an HTTP call at certain moments of an update: exactly one
// of exec and http.
//
// +kubebuilder:validation:XValidation:rule="(has(self.exec) ? 1 : 0) + (has(self.http) ? 1 : 0) == 1",message="a hook has exactly one of exec and http"
type Hook struct {
	// name of the hook, as it appears in the log.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`

	// at are the moments at which it runs: Preflight, BeforeBackup, AfterBackup,
	// BeforeService, AfterService, Success or Failure.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	// +listType=set
	// +required
	At []HookPoint `json:"at"`

	// services for which BeforeService and AfterService run. Default: every
	// service that gets new containers.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +optional
	Services []string `json:"services,omitempty"`

	// exec runs a command in a running container of a service: in an old one up
	// to BeforeService, in a new one from AfterService on. It passes when the
	// command exits with 0. Its environment has FAIRLEAD_EVENT,
	// FAIRLEAD_APPLICATION, FAIRLEAD_NAMESPACE, FAIRLEAD_REQUEST, FAIRLEAD_COMMIT,
	// FAIRLEAD_PREVIOUS_COMMIT, FAIRLEAD_SERVICE, FAIRLEAD_PHASE and
	// FAIRLEAD_MESSAGE.
	// +optional
	Exec *ExecCheck `json:"exec,omitempty"`

	// http calls a URL from the daemon. It passes when the status is 200 to 299;
	// redirects are not followed.
	// +optional
	HTTP *HTTPHook `json:"http,omitempty"`

	// timeout of one run. Default: 1m.
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// onFailure: Fail (the update fails and is undone) or Continue. A hook on
	// Success or Failure comes too late to fail anything. Default: Fail.
	// +kubebuilder:default=Fail
	// +optional
	OnFailure HookFailurePolicy `json:"onFailure,omitempty"`
}

// HTTPHook is a call from the daemon. The body is a JSON object with event,
// application, namespace, request, commit, previousCommit, service, phase and
// message.
type HTTPHook struct {
	// url to call, as the daemon reaches it.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/@]*:[^/@]*@')",message="url must not contain a password: put a token into a Secret and name that in secretRef"
	// +required
	URL string `json:"url"`

	// method: POST, PUT or GET (which sends no body). Default: POST.
	// +kubebuilder:default=POST
	// +kubebuilder:validation:Enum=POST;PUT;GET
	// +optional
	Method string `json:"method,omitempty"`

	// secretRef names a Secret with the keys token (sent as a bearer token) and
	// hmac-key (the body's signature is sent as X-Fairlead-Signature-256), both
	// optional.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}

// NotificationEvent is what is told.
// +kubebuilder:validation:Enum=Started;Succeeded;Failed;RolledBack;Cancelled;BackupFailed
type NotificationEvent string

// Notification events.
const (
	NotifyStarted      NotificationEvent = "Started"
	NotifySucceeded    NotificationEvent = "Succeeded"
	NotifyFailed       NotificationEvent = "Failed"
	NotifyRolledBack   NotificationEvent = "RolledBack"
	NotifyCancelled    NotificationEvent = "Cancelled"
	NotifyBackupFailed NotificationEvent = "BackupFailed"
)

// Notification says whom to tell about updates, and about what. Exactly one of
// webhook and serviceRef. It is sent in the background and tried again; it
// never holds up an update.
//
// +kubebuilder:validation:XValidation:rule="(has(self.webhook) ? 1 : 0) + (has(self.serviceRef) ? 1 : 0) == 1",message="a notification has exactly one of webhook and serviceRef"
type Notification struct {
	// name of the receiver, as it appears in messages: letters, digits, "-", "_"
	// and ".".
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`
	// +required
	Name string `json:"name"`

	// events that are told: Started, Succeeded, Failed, RolledBack, Cancelled,
	// BackupFailed. Default: all of them.
	// +kubebuilder:validation:MaxItems=6
	// +listType=set
	// +optional
	Events []NotificationEvent `json:"events,omitempty"`

	// webhook gets a POST with {"message","status"} as JSON. The status is started,
	// success, failure, rollback, cancelled or backup_failure.
	// +optional
	Webhook *WebhookNotification `json:"webhook,omitempty"`

	// serviceRef names a Secret whose key url holds one Shoutrrr URL of a chat or
	// mail service, such as slack://, telegram://, discord:// or smtp://. These
	// contain credentials.
	// +optional
	ServiceRef *LocalReference `json:"serviceRef,omitempty"`
}

// WebhookNotification is an HTTP receiver. Exactly one of url and secretRef's
// key url says where.
//
// +kubebuilder:validation:XValidation:rule="has(self.url) || has(self.secretRef)",message="a webhook needs a url, or a secretRef to a Secret with the key url"
type WebhookNotification struct {
	// url to post to.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/@]*:[^/@]*@')",message="url must not contain a password: put the URL into a Secret and name that in secretRef"
	// +optional
	URL string `json:"url,omitempty"`

	// secretRef names a Secret with the keys url (instead of url here) and
	// hmac-key (the body's signature is sent as X-Fairlead-Signature-256), both
	// optional.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}
