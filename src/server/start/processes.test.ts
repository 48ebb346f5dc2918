import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const program = fileURLToPath(new URL("../../testing/supervised.ts", import.meta.url));

test.runIf(process.platform === "linux")("when processes exit before they listen, their supervisor exits with the same code", async () => {
  const child = spawn(process.execPath, [program], { stdio: "ignore", env: { ...process.env, PORT: "0", QUOTA_DATA_DIR: "/nonexistent" } });
  onTestFinished(() => void child.kill("SIGKILL"));
  expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(3);
});
