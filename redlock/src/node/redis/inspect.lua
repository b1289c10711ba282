-- Tells value and remaining milliseconds of every key; a value of false means that it is free.
-- Keys: n lock keys. Arguments: none.
function ops.inspect(k, n)
  local states = {}
  for i = k, k + n - 1 do
    states[#states + 1] = redis.call('GET', KEYS[i])
    states[#states + 1] = redis.call('PTTL', KEYS[i])
  end
  return states
end
