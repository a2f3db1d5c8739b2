import ts from 'typescript'
import { placeOf, walk, type Source } from './source.ts'

/** The first cell of a table row, or a heading: where docs/guarantees.md defines an id. */
const definition = /^(?:\|\s*|#+\s*)[`*]*([A-Z]+-\d+)\b/
const leadingIds = /^[A-Z]+-\d+\b(?:(?:,| and|, and) [A-Z]+-\d+\b)*/
const promises = ['DURA', 'ORDER', 'LOSS', 'PROGRESS', 'ONCE', 'FENCE', 'BOUND', 'TIME', 'QUIET']

/** Compares the ids that `document` promises with the ids at the start of test titles, both ways. */
export function compareGuarantees(document: string, tests: readonly Source[]): string[] {
  const rows = document.split('\n').flatMap((line, index) => {
    const id = definition.exec(line)?.[1]
    return id === undefined ? [] : [{ id, line, place: `docs/guarantees.md:${index + 1}` }]
  })
  const known = new Set(rows.map(({ id }) => id))
  const prefixes = new Set([...promises, ...[...known].map(prefixOf)])
  const used = tests.flatMap((source) => idsInTitles(source).filter(({ id }) => prefixes.has(prefixOf(id))))
  const tested = new Set(used.map(({ id }) => id))
  return [
    ...rows
      .filter(({ id }, index) => rows.findIndex((row) => row.id === id) < index)
      .map(({ id, place }) => `${place} defines ${id} a second time`),
    ...rows
      .filter(({ id, line }) => !tested.has(id) && !/not tested/i.test(line))
      .map(({ id, place }) => `${place} promises ${id}, but no test title begins with it`),
    ...used
      .filter(({ id }) => !known.has(id))
      .map(({ id, place }) => `${place} proves ${id}, which docs/guarantees.md does not promise`),
  ]
}

function prefixOf(id: string): string {
  return id.slice(0, id.indexOf('-'))
}

/** Any string that begins with an id is a title, since suites and tables pass titles around. */
function idsInTitles(source: Source): { id: string; place: string }[] {
  return [...walk(source.tree)]
    .filter((node) => ts.isStringLiteralLike(node) || ts.isTemplateHead(node))
    .flatMap((node) => {
      const ids = leadingIds.exec(node.text)?.[0].match(/[A-Z]+-\d+/g) ?? []
      return ids.map((id) => ({ id, place: placeOf(source, node) }))
    })
}
