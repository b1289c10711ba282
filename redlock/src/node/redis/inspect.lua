-- Tells value and remaining milliseconds of every key; a value of false means that it is free.
-- Keys: n lock keys. Arguments: none.
reply = {}
for i = 1, n do
  local value = call('GET', KEYS[k + i - 1])
  if type(value) == 'table' then
    reply = { value.err }
    break
  end
  reply[2 * i - 1] = value
  reply[2 * i] = call('PTTL', KEYS[k + i - 1])
end
k = k + n
