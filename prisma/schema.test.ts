import { readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import config from "../prisma.config.ts";
import { checksumOf } from "./generate.ts";
import { readSchema } from "./schema.ts";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");

test("the server reads every file of the folder that Prisma's command line reads", () => {
  const folder = config.schema ?? "";
  const named = readSchema().map(([name]) => path.join("prisma", name));
  expect(named).toEqual(readdirSync(path.join(root, folder)).map((name) => path.join(folder, name)));
  expect(named).toContain("prisma/schema/ledger.prisma");
});

test("Prisma's command line finds the migrations that the server applies", () => {
  expect(readdirSync(path.join(root, config.migrations?.path ?? ""))).toContain("20261122000000_initial");
});

describe("the client is made again when", () => {
  const prisma = `{"version":"7.10.0"}`;
  const before = checksumOf(
    [
      ["a", "1"],
      ["b", "2"],
    ],
    prisma,
  );
  test.each([
    [
      "a file is changed",
      [
        ["a", "1"],
        ["b", "3"],
      ],
      prisma,
    ],
    [
      "a file is added",
      [
        ["a", "1"],
        ["b", "2"],
        ["c", ""],
      ],
      prisma,
    ],
    ["a file is removed", [["a", "1"]], prisma],
    [
      "a file is renamed",
      [
        ["a", "1"],
        ["c", "2"],
      ],
      prisma,
    ],
    [
      "Prisma is updated",
      [
        ["a", "1"],
        ["b", "2"],
      ],
      `{"version":"7.11.0"}`,
    ],
  ] as [string, [string, string][], string][])("%s", (_, schema, version) => expect(checksumOf(schema, version)).not.toBe(before));
});
