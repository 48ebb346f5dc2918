import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");

/** Generates Prisma's client when it is missing or older than the schema; returns whether it did. */
export function generateClient(): boolean {
  const schema = path.join(root, "prisma/schema.prisma");
  const client = path.join(root, "src/generated/prisma/client.ts");
  if (existsSync(client) && statSync(client).mtimeMs >= statSync(schema).mtimeMs) return false;
  const result = spawnSync(process.execPath, [path.join(root, "node_modules/prisma/build/index.js"), "generate"], {
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
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) generateClient();
