import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { repository } from "./imports.ts";

const documents = globSync("**/*.md", {
  cwd: repository,
  exclude: (name) => /(^|\/)(node_modules|dist|\.[a-z]+|test-results)$/.test(String(name)),
});
const decisions = documents.filter((file) => file.startsWith("docs/decisions/")).sort();

describe("a decision", () => {
  test("is numbered without gaps", () => {
    expect(decisions.map((file) => numberOf(file))).toEqual(decisions.map((_, index) => index + 1));
    expect(decisions.length).toBeGreaterThan(15);
  });

  test.each(decisions)("has number, date and status: %s", (file) => {
    const lines = read(file).split("\n");
    expect(lines[0]).toMatch(new RegExp(`^# ${numberOf(file)}\\. \\S`));
    expect(lines[2]).toMatch(/^- Date: \d{4}-\d\d-\d\d$/);
    expect(Number.isNaN(Date.parse(lines[2]?.slice("- Date: ".length) ?? ""))).toBe(false);
    expect(lines[3]).toMatch(/^- Status: (accepted|superseded by \[)/);
    expect(lines[4]).toBe("");
  });

  test("that is superseded names the later decision, and the later one names it", () => {
    const superseded = decisions.flatMap((file) =>
      numbersAfter(file, "superseded (?:in part )?by").map((by) => `${by} supersedes ${numberOf(file)}`),
    );
    const supersedes = decisions.flatMap((file) => numbersAfter(file, "supersedes").map((old) => `${numberOf(file)} supersedes ${old}`));
    expect(superseded.sort()).toEqual(supersedes.sort());
    expect(superseded).toContain("9 supersedes 1");
    for (const each of superseded) {
      const [later = 0, earlier = 0] = each.split(" supersedes ").map(Number);
      expect(later).toBeGreaterThan(earlier);
    }
  });
});

test.each(documents)("the links of %s lead somewhere", (file) => {
  const links = [
    ...read(file)
      .replace(/^```.*?^```/gms, "")
      .matchAll(/\]\(([^()\s]+)\)/g),
  ].map(([, link = ""]) => link);
  const broken = links.filter((link) => {
    if (/^([a-z]+:|\/)/.test(link)) return false;
    const [target = "", anchor] = link.split("#");
    const there = target === "" ? file : path.posix.join(path.posix.dirname(file), target);
    if (!existsSync(path.join(repository, there))) return true;
    // The site makes anchors of its pages when it renders them; e2e/docs/site.spec.ts checks those.
    if (anchor === undefined || !there.endsWith(".md") || there.startsWith("docs/site/")) return false;
    return !anchorsOf(there).includes(anchor);
  });
  expect(broken).toEqual([]);
});

function numberOf(file: string): number {
  return Number.parseInt(path.posix.basename(file), 10);
}

/** The numbers of the decisions linked after these words in a status. */
function numbersAfter(file: string, words: string): number[] {
  const status = read(file).split("\n")[3] ?? "";
  return [...status.matchAll(new RegExp(`\\b${words} ((?:\\[\\d+\\]\\([^)]+\\)(?:, | and )?)+)`, "g"))].flatMap(([, links = ""]) =>
    [...links.matchAll(/\[(\d+)\]\((\d+)-/g)].map(([, shown, linked]) => (Number(shown) === Number(linked) ? Number(shown) : Number.NaN)),
  );
}

/** The anchors that GitHub makes for headings. */
function anchorsOf(file: string): string[] {
  const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

function read(file: string): string {
  return readFileSync(path.join(repository, file), "utf8");
}
