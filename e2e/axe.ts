import AxeBuilder from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";

/** axe finds nothing at all on the page as it is now. */
export async function expectNoViolation(page: Page): Promise<void> {
  expect(await violationsOf(page), page.url()).toEqual([]);
}

/** axe finds nothing serious on the page as it is now. */
export async function expectNothingSerious(page: Page): Promise<void> {
  const violations = await violationsOf(page);
  expect(
    violations.filter(({ impact }) => impact === "serious" || impact === "critical"),
    page.url(),
  ).toEqual([]);
}

async function violationsOf(page: Page) {
  // It comes a moment after the rest of a page.
  await expect(page).toHaveTitle(/./);
  return (await new AxeBuilder({ page }).analyze()).violations;
}
