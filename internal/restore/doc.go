// SPDX-License-Identifier: Apache-2.0

// Package restore brings an application back to one of its backups: as a step of
// a request ([Runner.Restore]), or by hand when all else is down ([Runner.Run]): it
// needs the backup's directory, Git and the engine, and neither the daemon nor its
// data.
//
// What is going to be overwritten is planned first ([NewPlan], which is pure),
// shown, and asked for. Then, in this order:
//
//  1. The images come to the host, while the application still runs.
//  2. What is there now is saved as a backup of its own, the safety backup.
//  3. All containers of the application are stopped, and kept.
//  4. Code, settings, volumes and bind mounts come back.
//  5. The PostgreSQL servers are started, and their dumps fed to them.
//  6. Everything else is started, gated by its health.
//  7. Containers of the state that was left are removed.
//
// Until 4, a failure starts again what was stopped, also by an attempt that was
// killed. After it, the same command or request goes on: every part can be done
// twice, and the safety backup of the first attempt stays the one. The way back is the restore of that backup.
package restore
