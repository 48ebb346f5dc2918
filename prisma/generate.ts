import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readSchema } from "./schema.ts";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const prisma = path.join(root, "node_modules/prisma");

/**
 * Generates Prisma's client when it is missing, or was made of another schema or by another version of Prisma; returns
 * whether it did. The checksum of both is kept beside the client: modification times do not show that a file was removed,
 * and copying the repository changes them.
 */
export function generateClient(): boolean {
  const checksumFile = path.join(root, "src/generated/checksum");
  const checksum = checksumOf(readSchema(), readFileSync(path.join(prisma, "package.json"), "utf8"));
  const client = path.join(root, "src/generated/prisma/client.ts");
  if (existsSync(client) && existsSync(checksumFile) && readFileSync(checksumFile, "utf8") === checksum) return false;
  const result = spawnSync(process.execPath, [path.join(prisma, "build/index.js"), "generate"], {
    cwd: root,
    encoding: "utf8",
    timeout: 120_000,
    env: {
      ...process.env,
      CHECKPOINT_DISABLE: "1",
      PRISMA_HIDE_UPDATE_MESSAGE: "1",
      // `prisma generate` does not use the native engine, but looks for it and would download
      // it; the path of any existing program prevents that.
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    },
  });
  if (result.status !== 0) throw new Error(`prisma generate failed:\n${result.stdout}\n${result.stderr}`);
  writeFileSync(checksumFile, checksum);
  return true;
}

/** Differs whenever a file is changed, added, renamed or removed. `prisma`: the package.json of the generator. */
export function checksumOf(schema: readonly (readonly [path: string, content: string])[], prisma: string): string {
  return createHash("sha256")
    .update(JSON.stringify([schema, (JSON.parse(prisma) as { version: string }).version]))
    .digest("hex");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) generateClient();
