import highlighter from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import css from "highlight.js/lib/languages/css";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import php from "highlight.js/lib/languages/php";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import typescript from "highlight.js/lib/languages/typescript";

const languages = { bash, css, go, ini, javascript, json, php, python, ruby, typescript };
for (const [name, language] of Object.entries(languages)) highlighter.registerLanguage(name, language);
highlighter.registerAliases(["env"], { languageName: "ini" });

/** Code as HTML with a class for each kind of token. Code in an unknown language is only escaped. */
export function highlight(text: string, language: string): string {
  if (highlighter.getLanguage(language) === undefined) return text.replace(/[&<>]/g, (each) => `&#${each.charCodeAt(0)};`);
  return highlighter.highlight(text, { language }).value;
}

/**
 * What follows a code block's opening fence: the language, and, for the page, `file=` (the file's
 * name) and `tab=` (adjacent blocks become tabs). The rest is instructions for the tests and is shown
 * on no page; see e2e/docs/snippets.spec.ts.
 */
export type Fence = {
  language: string;
  file?: string;
  tab?: string;
  answer: boolean;
  setup: boolean;
  app: boolean;
  verify: boolean;
  skip?: string;
};

export function readFence(info: string | undefined): Fence {
  const [language = "", ...rest] = (info ?? "").split(" ");
  const words = rest.join(" ");
  const value = (name: string) => {
    const found = new RegExp(`(?:^| )${name}=(?:"([^"]*)"|(\\S+))`).exec(words);
    return found === null ? {} : { [name]: found[1] ?? found[2] };
  };
  const flag = (name: string) => new RegExp(`(?:^| )${name}(?: |$)`).test(words);
  return {
    language,
    ...value("file"),
    ...value("tab"),
    ...value("skip"),
    answer: flag("answer"),
    setup: flag("setup"),
    app: flag("app"),
    verify: flag("verify"),
  };
}

/** Opening fences without the instructions for the tests. */
export function withoutTestWords(markdown: string): string {
  return markdown.replace(/^```(\w+) .*$/gm, (line, language: string) => {
    const { file } = readFence(line.slice(3));
    return file === undefined ? `\`\`\`${language}` : `\`\`\`${language} file=${file}`;
  });
}
