import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

test("a process that starts Postgres keeps the exit code that it was given", () => {
  const script = `await import(${JSON.stringify(new URL("./postgres.ts", import.meta.url).href)}); process.exitCode = 3;`;
  expect(spawnSync(process.execPath, ["--input-type=module", "--eval", script]).status).toBe(3);
});
