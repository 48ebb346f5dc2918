import { readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Door } from "../http/endpoint.ts";
import { matchPath } from "../http/endpoint.ts";

/** The doors of /v1, read from the file tree that Next also uses for its routes. */
export type Routes = { find(path: string): Methods | null };
export type Methods = ReadonlyMap<string, Door>;

const root = fileURLToPath(new URL("../../app/v1/", import.meta.url));

export async function loadRoutes(): Promise<Routes> {
  const files = (await readdir(root, { recursive: true })).filter((file) => path.basename(file) === "route.ts");
  const fixed = new Map<string, Methods>();
  const variable: { template: string; methods: Methods }[] = [];
  for (const file of files) {
    const template = templateOf(path.dirname(file));
    const exports = (await import(pathToFileURL(path.join(root, file)).href)) as Record<string, unknown>;
    const methods = new Map(
      METHODS.filter((method) => typeof exports[method] === "function").map((method) => [method, exports[method] as Door]),
    );
    if (template.includes("{")) variable.push({ template, methods });
    else fixed.set(template, methods);
  }
  // The first match is used: longer templates come first, a catch-all last.
  variable.sort((a, b) => Number(a.template.includes("...")) - Number(b.template.includes("...")) || b.template.length - a.template.length);
  return {
    find: (path) => fixed.get(path) ?? variable.find(({ template }) => matchPath(template, path) !== null)?.methods ?? null,
  };
}

const METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"];

/** `users/[external_user_id]/link` is `/v1/users/{external_user_id}/link`. */
function templateOf(folder: string): string {
  const segments = folder.split(path.sep).filter((segment) => segment !== ".");
  return [
    "/v1",
    ...segments.map((segment) =>
      segment.replace(/^\[(\.\.\.)?(\w+)\]$/, (_match, rest: string | undefined, name: string) => `{${name}${rest ?? ""}}`),
    ),
  ].join("/");
}
