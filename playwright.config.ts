import { defineConfig } from "@playwright/test";

/** Nothing fades, so that what is looked at is what stays. */
const contextOptions = { reducedMotion: "reduce" } as const;

/**
 * End-to-end tests against real servers: `api` drives /v1 as programs do, `browser`
 * drives the pages as people do, `sdk` the packages and the example as apps and people do,
 * `clients` with the clients and frameworks that people use, `docs` holds the documentation
 * to the server. `e2e/fixtures.ts` starts what they need.
 * QUOTA_E2E_PAGES=0 leaves the pages out, which is quicker while working on /v1.
 */
export default defineConfig({
  testDir: "e2e",
  globalSetup: "./e2e/global-setup.ts",
  fullyParallel: true,
  workers: 2,
  // A test that passes on the second try has found something; it must not be hidden.
  retries: 0,
  forbidOnly: process.env.CI !== undefined,
  timeout: 120_000,
  // Costs nothing while tests pass, and a machine with much else to do needs it.
  expect: { timeout: 20_000 },
  reporter: [["list"]],
  projects: [
    { name: "api", testDir: "e2e/api" },
    { name: "clients", testDir: "e2e/clients" },
    { name: "docs", testDir: "e2e/docs", use: { locale: "en-US", timezoneId: "UTC", contextOptions } },
    {
      name: "sdk",
      testDir: "e2e/sdk",
      use: { screenshot: "only-on-failure", trace: "retain-on-failure", locale: "en-US", timezoneId: "UTC", contextOptions },
    },
    {
      name: "browser",
      testDir: "e2e/browser",
      use: { screenshot: "only-on-failure", trace: "retain-on-failure", locale: "en-US", timezoneId: "UTC", contextOptions },
    },
  ],
});
