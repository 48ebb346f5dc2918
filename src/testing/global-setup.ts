import type { TestProject } from "vitest/node";
import { startPostgres } from "./postgres.ts";

/** One Postgres for the whole run; each test file makes a database of its own in it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startPostgres(["-c", "fsync=off"]);
  project.provide("postgresUrl", server.url);
  return server.stop;
}

declare module "vitest" {
  export interface ProvidedContext {
    postgresUrl: string;
  }
}
