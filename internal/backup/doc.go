// SPDX-License-Identifier: Apache-2.0

// Package backup makes one recovery point of a Compose application before
// anything of it is changed: its settings, the data of its volumes and bind
// mounts, and a logical dump of every PostgreSQL service.
//
// # Where
//
// The backups of an application are directories below
// <deployment directory>/.update/backups:
//
//	backup_20231201_143022/            a whole, verified backup (mode 0700)
//	    files.tar.gz                   settings: .env, Compose files, extra paths
//	    postgres_db.sql.gz             pg_dumpall of the service db
//	    volume_app_pgdata.tar.gz       content of the volume app_pgdata
//	    bind_uploads.tar.gz            content of the bind mount ./uploads
//	    manifest.json                  what is in the backup, written last
//	.backup_20231201_143500.partial/   one that is being made, or was given up
//	.trash_backup_20231101_120000/     one that is being removed
//
// A directory gets its final name by one rename, after every file in it was
// written, synced and read back. So a directory with a final name and a
// manifest is whole; nothing else is ever a backup. The time in the name is UTC:
// names sort by age, do not repeat when clocks go back, and mean the same on
// every host.
//
// # What
//
// Archives are POSIX tar files and dumps are SQL, both compressed with gzip,
// because these can be read on every host without Fairlead:
//
//	tar -xzpf volume_app_pgdata.tar.gz --numeric-owner --xattrs -C DIRECTORY
//	gunzip -c postgres_db.sql.gz | psql -U postgres -d postgres
//
// Entries of the archives of volumes and directories begin with "./", the root
// of the volume or directory. A bind mount of one file is an archive with
// that file. In files.tar.gz, paths are relative to the deployment directory;
// a file outside of it is at .outside/ followed by its absolute path.
//
// # Manifest
//
// manifest.json is described by [Manifest]; schemaVersion is 1. Fields are
// only ever added; a reader must refuse a higher schemaVersion. It holds no
// secrets, but the archives and dumps do: files have mode 0600.
//
// # Consistency
//
// The application keeps running. A dump is one consistent snapshot per
// database. The files of a volume are copied one after another while they may
// be written: for a database, restore the dump, not the volume. Where a file
// changes under the copy in a way that tears the archive, the copy is
// repeated; when that does not help, the application's containers that write
// to the place are paused for the time of one copy, seconds as a rule. What
// is paused is written down first, so that after a crash it is resumed.
//
// # Exclusion
//
// A backup in the making holds a lock (flock) on its partial directory.
// [Runner.Sweep] leaves locked ones alone, so that several daemons or
// applications may share a backups directory.
package backup
