import { expect, test } from "vitest";
import { introductionOf } from "./introductions.ts";
import { allModels } from "./models.ts";

test("every model of the catalogue has a name of its own and the day of its release", () => {
  const models = [...allModels().values()].filter(({ custom }) => !custom);
  const introductions = models.map(introductionOf);
  expect(new Set(introductions.map(({ name }) => name)).size).toBe(models.length);
  const today = new Date();
  // OpenAI's name for o3 is its id; a model without a row has its id as name too.
  expect(models.filter((model) => introductionOf(model).name === model.id).map(({ id }) => id)).toEqual(["o3"]);
  for (const { at } of introductions) {
    expect(at.getTime()).toBeGreaterThan(Date.parse("2023-01-01"));
    expect(at.getTime()).toBeLessThan(today.getTime());
    expect(at.toISOString()).toMatch(/T00:00:00\.000Z$/);
  }
});
