import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";

/** Expects that axe finds no violation on the page. */
export async function expectNoViolation(page: Page): Promise<void> {
  expect(await violationsOf(page), page.url()).toEqual([]);
}

/** Expects that axe finds no serious violation on the page. */
export async function expectNothingSerious(page: Page): Promise<void> {
  const violations = await violationsOf(page);
  expect(
    violations.filter(({ impact }) => impact === "serious" || impact === "critical"),
    page.url(),
  ).toEqual([]);
}

async function violationsOf(page: Page) {
  // The title is set shortly after the page's content.
  await expect(page).toHaveTitle(/./);
  return (await new AxeBuilder({ page }).analyze()).violations;
}
