import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, cp, lstat, mkdir, mkdtemp, readdir, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installedPrograms, postgresHome, sharedCopy } from "./postgres-binaries.ts";
import { createCluster } from "./postgres-cluster.ts";

const isRoot = process.getuid?.() === 0;

test("a process that starts Postgres keeps the exit code that it was given", () => {
  const script = `await import(${JSON.stringify(new URL("./postgres.ts", import.meta.url).href)}); process.exitCode = 3;`;
  expect(spawnSync(process.execPath, ["--input-type=module", "--eval", script]).status).toBe(3);
});

test("a Postgres that does not start gives the reason in one sentence, without a stack", () => {
  const script = `
    const { startPostgres } = await import(${JSON.stringify(new URL("./postgres.ts", import.meta.url).href)});
    await startPostgres(["-c", "max_connections=nonsense"]).catch((error) => console.log(error.stack));`;
  const { DATABASE_URL: _, ...env } = process.env;
  const { stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8", env });
  expect(stdout).toBe('The test database did not start: invalid value for parameter "max_connections": "nonsense".\n');
});

for (const [end, how] of [
  ["process.exit(0)", "that ends"],
  ['process.kill(process.pid, "SIGTERM")', "that is told to end"],
] as const) {
  test(`a process ${how} while Postgres runs leaves no server and no files behind`, async () => {
    const script = `
      import { writeSync } from "node:fs";
      const { startPostgres } = await import(${JSON.stringify(new URL("./postgres.ts", import.meta.url).href)});
      const { dataDir, url } = await startPostgres();
      writeSync(1, JSON.stringify({ dataDir, url }));
      ${end};`;
    const { DATABASE_URL: _, ...env } = process.env;
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8", env });
    const { dataDir, url } = JSON.parse(stdout) as { dataDir: string; url: string };
    await expect
      .poll(() =>
        new pg.Client({ connectionString: url }).connect().then(
          () => "answers",
          (error) => error.code,
        ),
      )
      .toBe("ECONNREFUSED");
    expect(existsSync(path.dirname(dataDir))).toBe(false);
  });
}

/** Programs in a folder that only its owner may enter, like /root/quota. */
let folder: string;
let native: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(await realpath(tmpdir()), "quota-private-"));
  native = path.join(folder, "project", "native");
  const installed = await installedPrograms();
  await cp(installed, native, { recursive: true, verbatimSymlinks: true });
  await cp(path.join(installed, "..", "package.json"), path.join(native, "..", "package.json"));
  await chmod(path.join(folder, "project"), 0o700);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The user that the server reports to run as. */
async function ownerOfServer(users?: readonly string[]): Promise<number> {
  const made = await createCluster({ home: await postgresHome({ native, ...(users === undefined ? {} : { users }) }) });
  try {
    await made.start(["-c", "fsync=off"]);
    const client = new pg.Client({ connectionString: made.url });
    await client.connect();
    try {
      const { rows } = await client.query("SELECT count(*)::int AS databases FROM pg_database");
      expect(rows).toEqual([{ databases: 3 }]);
    } finally {
      await client.end();
    }
    return (await lstat(path.join(made.dataDir, "postmaster.pid"))).uid;
  } finally {
    await made.remove();
  }
}

describe("Postgres starts from a folder that only its owner may enter", () => {
  test("under any user, and under root as an unprivileged user", async () => {
    const owner = await ownerOfServer();
    if (isRoot) expect(owner).toBeGreaterThan(0);
    else expect(owner).toBe(process.getuid?.());
  });

  test("on a machine without a user postgres, and creates no user", async () => {
    expect(await ownerOfServer(["no-such-user", "nobody"])).toBe(isRoot ? await idOf("nobody") : process.getuid?.());
    expect(spawnSync("id", ["no-such-user"]).status).not.toBe(0);
  });

  test("or fails with one sentence when root finds no user to run it", async () => {
    const home = postgresHome({ native, users: ["no-such-user"] });
    if (isRoot) await expect(home).rejects.toThrow("PostgreSQL does not run as root, and this machine has none of the users no-such-user");
    else await rm((await home).folder, { recursive: true });
  });
});

async function idOf(name: string): Promise<number> {
  return Number(spawnSync("id", ["-u", name], { encoding: "utf8" }).stdout);
}

describe("the copy of the programs that runs share", () => {
  async function emptyBase(): Promise<string> {
    return mkdtemp(path.join(folder, "base-"));
  }

  test("is made once for concurrent runs, complete, readable by all, writable by its owner", async () => {
    const base = await emptyBase();
    const copies = await Promise.all(Array.from({ length: 4 }, () => sharedCopy(native, base)));
    expect(new Set(copies).size).toBe(1);
    expect(await readdir(base)).toEqual([path.basename(copies[0] as string)]);
    const names = (await readdir(native, { recursive: true })).sort();
    expect((await readdir(copies[0] as string, { recursive: true })).sort()).toEqual(names);
    for (const name of names) {
      const { mode } = await lstat(path.join(copies[0] as string, name));
      expect([name, (mode & 0o444) === 0o444]).toEqual([name, true]);
      // Symbolic links have no permissions of their own.
      if ((mode & 0o170000) !== 0o120000) expect([name, mode & 0o022]).toEqual([name, 0]);
    }
  });

  test("is reused, and replaced when files of it are missing", async () => {
    const base = await emptyBase();
    const copy = await sharedCopy(native, base);
    const { ino } = await lstat(copy);
    expect([await sharedCopy(native, base), (await lstat(copy)).ino]).toEqual([copy, ino]);
    await rm(path.join(copy, "share", "postgres.bki"), { recursive: true, force: true });
    await rm(path.join(copy, "bin", "initdb"), { recursive: true, force: true });
    expect(await sharedCopy(native, base)).toBe(copy);
    expect((await lstat(copy)).ino).not.toBe(ino);
    expect((await lstat(path.join(copy, "bin", "initdb"))).mode & 0o777).toBe(0o755);
    expect(await readdir(base)).toEqual([path.basename(copy)]);
  });

  test("is refused when other users may write to it, or own it", async () => {
    const base = await emptyBase();
    const copy = await sharedCopy(native, base);
    await chmod(copy, 0o777);
    await expect(sharedCopy(native, base)).rejects.toThrow("belongs to somebody else");
    await chmod(copy, 0o755);
    expect(await sharedCopy(native, base)).toBe(copy);
    if (!isRoot) return;
    await chown(copy, 1, 1);
    await expect(sharedCopy(native, base)).rejects.toThrow("belongs to somebody else");
    await rm(copy, { recursive: true });
    await mkdir(copy);
    await chown(copy, 1, 1);
    // An empty folder is replaced; the new one is root's.
    expect(await sharedCopy(native, base)).toBe(copy);
    expect((await lstat(copy)).uid).toBe(0);
  });
});
