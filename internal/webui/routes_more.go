// SPDX-License-Identifier: Apache-2.0

package webui

// Pages about an application and about a backup.
const (
	ofApplication = inNS + "applications/{name}/"
	ofBackup      = inNS + "backups/{name}/"
)

// administration are the pages about backups, figures and settings of an
// application, and about the host and who may do what.
func (s *Server) administration() []route {
	return []route{
		{pattern: "GET " + ofApplication + "backups", handler: s.page(signedIn, s.backups)},
		{pattern: "GET " + ofApplication + "backups/events", handler: s.page(signedIn, s.backupEvents), stream: true},
		{pattern: "POST " + ofApplication + "backups", handler: s.page(signedIn, s.makeBackup)},
		{pattern: "GET " + ofBackup + "restore", handler: s.page(signedIn, s.showRestore)},
		{pattern: "POST " + ofBackup + "restore", handler: s.page(signedIn, s.restore)},
		{pattern: "POST " + ofBackup + "restore/plan", handler: s.page(signedIn, s.planRestore)},
		{pattern: "GET " + ofBackup + "download", handler: s.page(signedIn, s.downloadBackup), stream: true},
		{pattern: "GET " + ofApplication + "figures", handler: s.page(signedIn, s.figures)},
		{pattern: "GET " + ofApplication + "settings", handler: s.page(signedIn, s.settings)},
		{pattern: "POST " + ofApplication + "settings", handler: s.page(signedIn, s.saveSettings)},
		{pattern: "GET " + ofApplication + "logs/{service}", handler: s.page(signedIn, s.logs)},
		{pattern: "GET " + ofApplication + "logs/{service}/events", handler: s.page(signedIn, s.logEvents), stream: true},
		{pattern: "GET " + ofApplication + "logs/{service}/text", handler: s.page(signedIn, s.downloadLogs), stream: true},
		{pattern: "GET " + Prefix + "new", handler: s.page(signedIn, s.newApp)},
		{pattern: "POST " + Prefix + "new", handler: s.page(signedIn, s.makeApp)},
		{pattern: "GET " + Prefix + "hosts", handler: s.page(signedIn, s.hosts)},
		{pattern: "GET " + Prefix + "tokens", handler: s.page(signedIn, s.tokens)},
		{pattern: "POST " + Prefix + "tokens", handler: s.page(signedIn, s.createToken)},
		{pattern: "POST " + Prefix + "tokens/{name}/revoke", handler: s.page(signedIn, s.revokeToken)},
		{pattern: "GET " + Prefix + "audit", handler: s.page(signedIn, s.audit)},
	}
}
