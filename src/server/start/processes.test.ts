import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const program = fileURLToPath(new URL("../../testing/supervised.ts", import.meta.url));

/** Runs a supervisor until it ends, or has written `enough` and is then told to stop. Says what it wrote and how it ended. */
function supervise(what: string, enough: string): Promise<{ output: string; errors: string; code: number | NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, what], { stdio: ["ignore", "pipe", "pipe"] });
    // Should it not end: its processes end when it is gone.
    onTestFinished(() => void child.kill("SIGKILL"));
    let output = "";
    let errors = "";
    child.once("error", reject);
    child.stderr.setEncoding("utf8").on("data", (text) => {
      errors += text;
    });
    child.stdout.setEncoding("utf8").on("data", (text) => {
      const before = output.includes(enough);
      output += text;
      if (!before && output.includes(enough)) child.kill("SIGTERM");
    });
    child.once("close", (code, signal) => resolve({ output, errors, code: signal ?? code }));
  });
}

test("a process that dies right after it asked to stop is replaced, and the others live on", async () => {
  const { output, errors, code } = await supervise("die", "listening 3");
  expect(output).toContain("dead");
  expect(errors).toContain("a server process ended and is replaced");
  // Two came first, and the third in place of the first.
  expect([output.includes("listening 3"), code]).toEqual([true, 0]);
});

test("processes that cannot start end their supervisor, with what they ended with", async () => {
  const { output, code } = await supervise("fail", "listening");
  expect([output, code]).toEqual(["", 3]);
});
