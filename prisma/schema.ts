import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the schema's files. prisma.config.ts names it for Prisma's command line. */
const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), "schema");

/** The schema's files, with paths from the folder `prisma`, in the order of their names. */
export function readSchema(): [path: string, content: string][] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".prisma"))
    .sort()
    .map((name) => [`schema/${name}`, readFileSync(path.join(folder, name), "utf8")]);
}
