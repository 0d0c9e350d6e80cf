// Configuration of Allure Report 3. The builder (src/editverdict/reporting/build.py) hands over what differs from run to
// run in a JSON file; without it the defaults below serve a call by hand:
//   npx allure generate out/<run>/allure-results --config allurerc.mjs
// The configuration is plain data on purpose (no import): it can be read from any folder.
import { readFileSync } from "node:fs";

const file = process.env.EDITVERDICT_ALLURE_SETTINGS;
const settings = file ? JSON.parse(readFileSync(file, "utf8")) : {};
const models = settings.models ?? [];
const label = (name, value) => ({ labels }) => labels.some((item) => item.name === name && item.value === value);
const verdict = (value) => ({ labels: { verdict: value } });

// One environment per model: a switch in the page's header. A single model needs no switch.
const environments = Object.fromEntries(
  models.map((model, index) => [`model${index + 1}`, { name: model, matcher: label("model", model) }]),
);

export default {
  name: settings.name ?? "editverdict",
  output: settings.output ?? "./out/allure",
  ...(settings.historyPath ? { historyPath: settings.historyPath } : {}),
  historyLimit: 50,
  ...(models.length > 1 ? { environments } : {}),
  hideLabels: ["thread", "host", "package", "language", "framework", "suite", "parentSuite", "subSuite", "tag", "spec_hash"],
  categories: {
    rules: [
      { name: "Refuted", matchers: verdict("refuted"), groupBy: [{ label: "story" }], expand: true },
      { name: "Invalid measurement (a check or control failed)", matchers: verdict("invalid"), expand: true },
      { name: "Inconclusive", matchers: verdict("inconclusive") },
      { name: "Broken (infrastructure)", matchers: verdict("broken") },
      { name: "Not run", matchers: verdict("not_run") },
      { name: "Printed numbers that cannot both hold", matchers: verdict("inconsistent"), groupBy: [{ label: "feature" }], expand: true },
      { name: "Printed numbers that an artefact explains better", matchers: verdict("implausible"), groupBy: [{ label: "feature" }] },
      { name: "The paper does not say enough", matchers: verdict("undefined") },
    ],
  },
  plugins: {
    awesome: {
      options: { singleFile: true, reportName: settings.name ?? "editverdict", reportLanguage: "en", groupBy: ["epic", "feature", "story"] },
    },
  },
};
