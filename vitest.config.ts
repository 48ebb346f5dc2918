import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (file: string) => fileURLToPath(new URL(`packages/core/src/${file}`, import.meta.url));

export default defineConfig({
  // A fresh clone has no built packages, and an old build would be tested instead of the source.
  resolve: {
    alias: [
      { find: /^@usequota\/core$/, replacement: source("index.ts") },
      { find: /^@usequota\/core\/testing$/, replacement: source("testing.ts") },
    ],
  },
  test: {
    include: ["src/**/*.test.ts", "prisma/**/*.test.ts", "packages/**/*.test.ts", "lint/**/*.test.ts", "e2e/providers/*.test.ts"],
    globalSetup: ["src/testing/global-setup.ts"],
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    env: { NODE_ENV: "test", QUOTA_QUIET: "1" },
  },
});
