// Shows openapi.json. Texts become text nodes only, so that nothing in the document can be markup.
'use strict';

const METHODS = ['get', 'put', 'post', 'patch', 'delete'];
const REFERENCE = '#/components/schemas/';

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A schema in a short notation, close to TypeScript's: texts, and links to named shapes. */
function notation(schema, indent = '') {
  if (schema === undefined || schema === true) return ['unknown'];
  if (schema.$ref) {
    const name = schema.$ref.slice(REFERENCE.length);
    return [element('a', { href: `#shape.${name}` }, name)];
  }
  if ('const' in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(' | ')];
  const union = schema.anyOf || schema.oneOf;
  if (union) return union.flatMap((part, at) => [...(at ? [' | '] : []), ...notation(part, indent)]);
  if (schema.type === 'array') return ['list of ', ...notation(schema.items, indent)];
  if (schema.type === 'object' && schema.properties) {
    const inner = `${indent}  `;
    const fields = Object.entries(schema.properties).flatMap(([name, part]) => [
      `${inner}${name}${(schema.required || []).includes(name) ? '' : '?'}: `,
      ...notation(part, inner),
      `${bounds(part)}\n`,
    ]);
    return ['{\n', ...fields, `${indent}}`];
  }
  return [schema.format ? `${schema.type} (${schema.format})` : schema.type || 'unknown'];
}

function bounds(schema) {
  const said = [];
  for (const part of [schema, ...(schema.anyOf || [])]) {
    if (part.minLength > 1) said.push(`at least ${part.minLength} characters`);
    if (part.maxLength) said.push(`at most ${part.maxLength} characters`);
    if (part.minimum !== undefined) said.push(`from ${part.minimum}`);
    if (part.maximum !== undefined) said.push(`to ${part.maximum}`);
    if (part.maxItems) said.push(`at most ${part.maxItems}`);
  }
  if (schema.default !== undefined && schema.default !== null) {
    said.push(`default ${JSON.stringify(schema.default)}`);
  }
  return said.length ? `  // ${said.join(', ')}` : '';
}

function shape(schema) {
  return element('pre', {}, ...notation(schema));
}

function content(holder) {
  return Object.entries(holder.content || {}).flatMap(([type, { schema }]) => [
    element('p', {}, element('code', {}, type)),
    shape(schema),
  ]);
}

function parameters(listed) {
  const rows = listed.map((parameter) => {
    const schema = parameter.schema || Object.values(parameter.content)[0].schema;
    const name = element('td', {}, element('code', {}, parameter.name));
    if (parameter.required) name.append(' (required)');
    const type = element('td', {}, element('code', {}, ...notation(schema), bounds(schema)));
    return element('tr', {}, name, element('td', {}, parameter.in), type);
  });
  const head = element('tr', {}, ...['name', 'in', 'type'].map((text) => element('th', {}, text)));
  return element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows));
}

function responses(listed, api) {
  return Object.entries(listed).flatMap(([status, given]) => {
    const named = given.$ref && given.$ref.split('/').pop();
    const response = named ? api.components.responses[named] : given;
    const line = element('p', {}, element('code', {}, status), ` ${response.description}`);
    return named ? [line] : [line, ...content(response)];
  });
}

function details(operation, api) {
  const body = element('div');
  for (const text of (operation.description || '').split('\n\n')) body.append(element('p', {}, text));
  if (operation.parameters) {
    body.append(element('h4', {}, 'Parameters'), parameters(operation.parameters));
  }
  if (operation.requestBody) {
    body.append(element('h4', {}, 'Body'), ...content(operation.requestBody));
  }
  body.append(element('h4', {}, 'Answers'), ...responses(operation.responses, api));
  return body;
}

/** A line that is filled when it is opened first: there are hundreds of them. */
function folded(id, summary, fill) {
  const made = element('details', { id }, element('summary', {}, ...summary));
  made.addEventListener('toggle', () => made.children.length > 1 || made.append(fill()), { once: true });
  return made;
}

function group(name, entries) {
  return element('section', { id: `group.${name}` }, element('h2', {}, name), ...entries);
}

function show(api) {
  const groups = new Map(api.tags.map(({ name }) => [name, []]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((known) => item[known])) {
      const operation = item[method];
      const summary = [
        element('span', { class: `method ${method}` }, method.toUpperCase()),
        element('code', {}, path),
        element('span', { class: 'what' }, operation.summary),
      ];
      const entry = folded(operation.operationId, summary, () => details(operation, api));
      groups.get(operation.tags[0]).push(entry);
    }
  }
  const shapes = Object.entries(api.components.schemas).map(([name, schema]) =>
    folded(`shape.${name}`, [element('code', {}, name)], () => element('div', {}, shape(schema))));
  groups.set('shapes', shapes);

  const sections = [...groups].map(([name, entries]) => group(name, entries));
  document.getElementById('operations').replaceChildren(...sections);
  document.getElementById('groups').replaceChildren(...[...groups.keys()].map((name) =>
    element('li', {}, element('a', { href: `#group.${name}` }, name))));
}

function filter(text) {
  const wanted = text.toLowerCase();
  for (const section of document.querySelectorAll('section')) {
    const entries = [...section.querySelectorAll('details')];
    for (const entry of entries) {
      entry.hidden = !entry.firstChild.textContent.toLowerCase().includes(wanted);
    }
    section.hidden = entries.every((entry) => entry.hidden);
  }
}

function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
  if (named) named.scrollIntoView();
}

async function start() {
  const answer = await fetch('openapi.json');
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  show(await answer.json());
  document.getElementById('filter').addEventListener('input', (event) => filter(event.target.value));
  window.addEventListener('hashchange', openNamed);
  openNamed();
}

start().catch((error) => {
  document.getElementById('operations').replaceChildren(element('p', {}, String(error)));
});
