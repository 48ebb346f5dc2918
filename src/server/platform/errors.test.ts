import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { dashboardErrors } from "./dashboard-errors.ts";
import { errorTable } from "./errors.ts";
import { errorsMarkdown, errorsPage } from "./errors-page.ts";

test("docs/errors.md is what npm run errors:write makes of the table", () => {
  expect(readFileSync(errorsPage, "utf8")).toBe(errorsMarkdown());
});

test("every error has a sentence for the caller, and a status of 400 or more", () => {
  for (const [code, row] of [...Object.entries(errorTable), ...Object.entries(dashboardErrors)]) {
    expect(row.status, code).toBeGreaterThanOrEqual(400);
    expect(row.message, code).toMatch(/^[A-Z].*\.$/);
    expect(row.when, code).toMatch(/\.$/);
  }
});

test("a code of the dashboard is none of /v1", () => {
  expect(Object.keys(dashboardErrors).filter((code) => code in errorTable)).toEqual([]);
});
